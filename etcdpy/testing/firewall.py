"""Cutting and losing traffic between members, with iptables: for tests that want a real network to fail.

A `Firewall` is a typed face of the `iptables` command: chains, and in a chain append, insert, delete, exists
and list with counters. Every call is one command with `--wait`, so that it does not fail because somebody
else holds the tables. A `Partition` uses one or more of them to cut parties from each other. Both need root;
`is_available` tells whether they work here.

Members on one machine all speak from one address, so a firewall cannot tell them apart. Give each a network
namespace of its own (`etcdpy.testing.namespaces`); its firewall is then reached by a command in that place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

COMMAND_SECONDS_MAX = 30.0
WAIT_SECONDS = 10
CHAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,27}")


class FirewallError(Exception):
    """iptables refused; the text is its own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule matches, and what becomes of it. Nothing given matches everything.

    `loss` makes it match only that share of packets, at random.
    """

    target: str = "DROP"
    source: str = ""
    destination: str = ""
    protocol: str = ""
    source_port: int = 0
    destination_port: int = 0
    loss: float = 1.0
    comment: str = ""

    def arguments(self) -> list[str]:
        """The rule in iptables' words."""
        words = []
        if self.source:
            words += ["--source", self.source]
        if self.destination:
            words += ["--destination", self.destination]
        protocol = self.protocol or ("tcp" if self.source_port or self.destination_port else "")
        if protocol:
            words += ["--protocol", protocol]
        if self.source_port:
            words += ["--sport", str(self.source_port)]
        if self.destination_port:
            words += ["--dport", str(self.destination_port)]
        if not 0.0 < self.loss <= 1.0:
            raise ValueError(f"a share of {self.loss} packets")
        if self.loss < 1.0:
            words += ["--match", "statistic", "--mode", "random", "--probability", f"{self.loss:.6f}"]
        if self.comment:
            words += ["--match", "comment", "--comment", self.comment]
        return [*words, "--jump", self.target]


@dataclass(frozen=True, slots=True)
class CountedRule:
    """A rule as iptables lists it: the packets and bytes it has matched, and its text."""

    packets: int
    bytes: int
    text: str


class Firewall:
    """One table of one protocol family."""

    def __init__(self, table: str = "filter", command: Sequence[str] = ("iptables",)) -> None:
        self._prefix = [*command, "--wait", str(WAIT_SECONDS), "--table", table]

    # Chains.

    def new_chain(self, chain: str) -> None:
        """Make an empty chain."""
        self._run("--new-chain", checked(chain))

    def delete_chain(self, chain: str) -> None:
        """Remove an empty chain that nobody jumps to."""
        self._run("--delete-chain", checked(chain))

    def flush(self, chain: str) -> None:
        """Remove all rules of a chain."""
        self._run("--flush", checked(chain))

    def chains(self) -> list[str]:
        """Names of all chains."""
        lines = self._run("--list-rules").splitlines()
        return [line.split()[1] for line in lines if line.startswith(("-P ", "-N "))]

    # Rules.

    def append(self, chain: str, rule: Rule) -> None:
        """Add a rule behind all others."""
        self._run("--append", checked(chain), *rule.arguments())

    def insert(self, chain: str, rule: Rule, position: int = 1) -> None:
        """Add a rule before the one that is at this position, counted from 1."""
        self._run("--insert", checked(chain), str(position), *rule.arguments())

    def delete(self, chain: str, rule: Rule) -> None:
        """Remove a rule; the first one where there are several equal ones."""
        self._run("--delete", checked(chain), *rule.arguments())

    def exists(self, chain: str, rule: Rule) -> bool:
        """Whether a chain has this rule."""
        done = self._call("--check", checked(chain), *rule.arguments())
        if done.returncode not in (0, 1):
            raise FirewallError(done.stderr.strip())
        return done.returncode == 0

    def list(self, chain: str) -> list[CountedRule]:
        """The rules of a chain in order, with their counters."""
        lines = self._run("--list-rules", checked(chain), "--verbose").splitlines()
        return [parse_rule(line) for line in lines if line.startswith("-A ")]

    def _run(self, *arguments: str) -> str:
        done = self._call(*arguments)
        if done.returncode != 0:
            raise FirewallError(done.stderr.strip() or f"exit code {done.returncode}")
        return done.stdout

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix, *arguments],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )


def checked(chain: str) -> str:
    """The name, if iptables could not take it for something else."""
    if CHAIN_NAME.fullmatch(chain) is None:
        raise ValueError(f"{chain!r} is no name of a chain")
    return chain


def parse_rule(line: str) -> CountedRule:
    """A line of `iptables --list-rules --verbose`."""
    match = re.search(r" -c (\d+) (\d+)", line)
    if match is None:
        raise FirewallError(f"a rule without counters: {line}")
    return CountedRule(int(match[1]), int(match[2]), line[: match.start()] + line[match.end() :])


def is_available() -> bool:
    """Whether rules can be made here."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        return False
    try:
        Firewall().chains()
    except (FirewallError, OSError, subprocess.TimeoutExpired):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody on the network: an address, and the firewall of the place where that is."""

    address: str
    firewall: Firewall


class Partition:
    """Cuts between parties. A context manager; leaving it removes all traces.

    Everything is dropped where it arrives, in a chain of its own that INPUT jumps to.
    """

    def __init__(self, parties: Iterable[Party], name: str = "") -> None:
        self.chain = checked(name or f"etcdpy-{os.getpid()}")
        self._jump = Rule(target=self.chain)
        self._firewalls: list[Firewall] = []
        for party in parties:
            if party.firewall not in self._firewalls:
                self._firewalls.append(party.firewall)

    def __enter__(self) -> Partition:
        for firewall in self._firewalls:
            firewall.new_chain(self.chain)
            firewall.insert("INPUT", self._jump)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for firewall in self._firewalls:
            if firewall.exists("INPUT", self._jump):
                firewall.delete("INPUT", self._jump)
            firewall.flush(self.chain)
            firewall.delete_chain(self.chain)

    def cut(self, one: Party, other: Party, *, loss: float = 1.0) -> None:
        """Nothing, or only a part, gets through between two parties, in either direction."""
        for party, rule in self._between(one, other, loss):
            party.firewall.append(self.chain, rule)

    def heal(self, one: Party, other: Party, *, loss: float = 1.0) -> None:
        """Undo a cut."""
        for party, rule in self._between(one, other, loss):
            party.firewall.delete(self.chain, rule)

    def isolate(self, alone: Party, others: Iterable[Party]) -> None:
        """Cut one party from all others."""
        for other in others:
            if other != alone:
                self.cut(alone, other)

    def heal_all(self) -> None:
        """Undo every cut."""
        for firewall in self._firewalls:
            firewall.flush(self.chain)

    def dropped(self) -> int:
        """Packets that the present cuts have cost so far."""
        return sum(rule.packets for firewall in self._firewalls for rule in firewall.list(self.chain))

    @staticmethod
    def _between(one: Party, other: Party, loss: float) -> Sequence[tuple[Party, Rule]]:
        return (
            (one, Rule(source=other.address, destination=one.address, loss=loss)),
            (other, Rule(source=one.address, destination=other.address, loss=loss)),
        )
