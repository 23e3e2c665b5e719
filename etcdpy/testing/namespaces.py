"""Places with an address of their own on one machine: Linux network namespaces on a bridge. Needs root.

A `Network` is a bridge that this process can reach, and any number of `Place`s on it. A program is started in
a place by the place's `command` in front of its own; it sees only that address, and the place has a firewall
of its own. Leaving the network removes everything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcdpy.testing.firewall import Firewall, Party

if TYPE_CHECKING:
    from types import TracebackType

COMMAND_SECONDS_MAX = 30.0
PLACES_MAX = 200
# Interface names end at 15 bytes.
PREFIX = "ep"


class NetworkError(Exception):
    """A command refused; the text is its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace."""

    name: str
    address: str

    @property
    def command(self) -> tuple[str, ...]:
        """What stands before a command that is to run here."""
        return ("ip", "netns", "exec", self.name)

    @property
    def party(self) -> Party:
        """This place for a `Partition`."""
        return Party(self.address, Firewall(command=(*self.command, "iptables")))


class Network:
    """A bridge with places on it. A context manager.

    Args:
        subnet: the first three numbers of the addresses.
    """

    def __init__(self, subnet: str = "10.83.7") -> None:
        self._subnet = subnet
        self._tag = f"{PREFIX}{os.getpid() % 1_000_000}"
        self._bridge = self._tag + "br"
        self.places: list[Place] = []

    def __enter__(self) -> Network:
        run("ip", "link", "add", self._bridge, "type", "bridge")
        try:
            run("ip", "addr", "add", f"{self._subnet}.254/24", "dev", self._bridge)
            run("ip", "link", "set", self._bridge, "up")
        except NetworkError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self) -> Place:
        """One more place."""
        number = len(self.places) + 1
        assert number <= PLACES_MAX, number
        place = Place(f"{self._tag}-{number}", f"{self._subnet}.{number}")
        outside, inside = f"{self._tag}o{number}", f"{self._tag}i{number}"
        run("ip", "netns", "add", place.name)
        self.places.append(place)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", place.name)
        run("ip", "link", "set", outside, "master", self._bridge)
        run("ip", "link", "set", outside, "up")
        run(*place.command, "ip", "addr", "add", f"{place.address}/24", "dev", inside)
        run(*place.command, "ip", "link", "set", inside, "up")
        run(*place.command, "ip", "link", "set", "lo", "up")
        return place

    def close(self) -> None:
        """Remove everything; what is gone already is no error."""
        for place in self.places:
            subprocess.run(["ip", "netns", "del", place.name], capture_output=True, check=False)
        self.places.clear()
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True, check=False)


def run(*command: str) -> None:
    """Run a command; NetworkError with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")


def is_available() -> bool:
    """Whether places can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with Network("10.83.6") as network:
            network.add()
    except (NetworkError, OSError, subprocess.TimeoutExpired):
        return False
    return True
