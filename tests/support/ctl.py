"""Runs real etcdctl, and takes out of its output what differs between two equal servers.

A session is a list of steps, each a command line as one would type it; `{lease}` and `{endpoint}` stand for
what this server said earlier. Every output is kept whole, standard error and exit code included, except
for identity, addresses, versions, sizes and times.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import text_format

from .answers import clear_identity
from .programs import clean_environment

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from .server import Server

COMMAND_SECONDS_MAX = 20.0

# Numbers that name a server or its moment, in the three text forms etcdctl prints.
MASKS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'"(cluster_id|member_id|raft_term)":\d+', r'"\1":*'),
        (r'"(ClusterID|MemberID|RaftTerm)" : \d+', r'"\1" : *'),
        (r'"(leader|dbSize|dbSizeInUse|raftIndex|raftTerm|raftAppliedIndex)":\d+', r'"\1":*'),
        (r'"(Leader|DBSize|RaftIndex|RaftTerm|RaftAppliedIndex)" : \d+', r'"\1" : *'),
        (r'"(version|Version)"( ?: ?)"[^"]*"', r'"\1"\2*'),  # the server's, quoted; a key's is a number
        (r"\btook(:| =)? [0-9.]+[^ \n]*s", "took *"),
        (r'"took":"[^"]*"', '"took":*'),
    )
)
MEMBER_MASKS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b[0-9a-f]{14,16}\b", "(id)"),
        (r'"ID":\d+', '"ID":*'),
        (r'"ID" : \d+', '"ID" : *'),
        (r"\b3\.\d+\.\d+\b", "(version)"),
        (r"\b[0-9.]+ [kMG]?B\b", "(size)"),
        (r"\b[0-9.]+[^ |\d.]{0,2}s\b", "(time)"),
        (
            r"(true|false)(, | \| +)(true|false)(, | \| +)\d+(, | \| +)\d+(, | \| +)\d+",
            r"\1 \3 (term) (index)",
        ),
    )
)


@dataclass(frozen=True)
class Run:
    """A command that ends by itself."""

    line: str
    stdin: str = ""
    message: type[Message] | None = None  # decode what `-w protobuf` prints
    save_lease: bool = False
    members: bool = False  # the output is about members: mask ids, versions and sizes too
    seconds_max: float = COMMAND_SECONDS_MAX


@dataclass(frozen=True)
class Follow:
    """A command that runs until it is interrupted; we read until a line contains `until`."""

    line: str
    until: str
    stdin: str = ""


Step = Run | Follow


@dataclass
class Session:
    """One etcdctl program against one server."""

    program: str
    server: Server
    names: dict[str, str] = field(default_factory=dict)

    def play(self, step: Step) -> str:
        """The step's output, masked."""
        if isinstance(step, Follow):
            return self._mask(self._follow(step), members=False)
        done = subprocess.run(
            self._arguments(step.line),
            input=step.stdin.encode(),
            capture_output=True,
            env=self._environment(),
            timeout=step.seconds_max,
            check=False,
        )
        if step.save_lease:
            self._save_lease(done.stdout.decode())
        printed = done.stdout.decode(errors="replace")
        if step.message is not None and done.returncode == 0:
            printed = decoded_text(step.message, done.stdout)
        text = f"{printed}--- stderr\n{without_log_lines(done.stderr.decode())}--- exit {done.returncode}\n"
        return self._mask(text, members=step.members)

    def _follow(self, step: Follow) -> str:
        process = subprocess.Popen(
            self._arguments(step.line),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            text=True,
        )
        # A line that never comes must not hold us for ever: the alarm ends the process, that ends its output.
        alarm = threading.Timer(COMMAND_SECONDS_MAX, process.kill)
        alarm.start()
        lines: list[str] = []
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(step.stdin)
            process.stdin.flush()
            for line in process.stdout:
                lines.append(line)
                if step.until in line:
                    break
            process.send_signal(signal.SIGINT)
        alarm.cancel()
        if not lines or step.until not in lines[-1]:
            lines.append(f"--- and no line with {step.until!r} in {COMMAND_SECONDS_MAX} s\n")
        return without_log_lines("".join(lines))

    def _arguments(self, line: str) -> list[str]:
        endpoints = f"--endpoints={self.server.endpoint}"
        return [
            self.program,
            endpoints,
            *shlex.split(line.format(endpoint=self.server.endpoint, **self.names)),
        ]

    def _environment(self) -> dict[str, str]:
        return clean_environment(ETCDCTL_API="3")

    def _save_lease(self, printed: str) -> None:
        found = re.match(r"lease ([0-9a-f]+) granted", printed)
        self.names["lease"] = found[1] if found else "0"

    def _mask(self, text: str, *, members: bool) -> str:
        text = text.replace(self.server.endpoint, "(endpoint)")
        text = text.replace(f":{self.server.peer_port}", ":(peer)")
        lease = self.names.get("lease")
        if lease is not None:
            text = text.replace(lease, "(lease)").replace(str(int(lease, 16)), "(lease)")
        for pattern, replacement in MASKS + (MEMBER_MASKS if members else ()):
            text = pattern.sub(replacement, text)
        if members:  # the widths of a table depend on what was masked
            text = re.sub(r"[-]{4,}", "----", re.sub(r" +", " ", text))
        return text


def decoded_text(message: type[Message], data: bytes) -> str:
    decoded = message.FromString(data)
    clear_identity(decoded)
    return text_format.MessageToString(decoded)


def without_log_lines(text: str) -> str:
    """etcdctl's client logs its retries as JSON; how often it retries is a matter of time."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith('{"level"'))
