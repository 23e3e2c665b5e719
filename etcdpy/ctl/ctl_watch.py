"""`watch`: print what happens to keys, or run a command for each event."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from etcdpy.client.errors import TEXT_COMPACTED, EtcdError
from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl import ctl_flags
from etcdpy.ctl.command_line import Options, read_flags
from etcdpy.ctl.ctl_session import WATCH_VARIABLES, go_error, open_session
from etcdpy.ctl.ctl_streams import Watch
from etcdpy.ctl.go_text import quote, split_words
from etcdpy.ctl.output import (
    EXIT_BAD_ARGUMENTS,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_INVALID_INPUT,
    Fault,
)
from etcdpy.proto import kv_pb2 as kv
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.ctl.ctl_session import Session

TOO_FEW: Final = "bad number of arguments"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to watch, and what to run."""

    words: tuple[str, ...]
    command: tuple[str, ...]
    options: Options

    def request(self) -> pb.WatchCreateRequest:
        """Raises Fault."""
        if not self.words:
            raise Fault(TOO_FEW, EXIT_BAD_ARGUMENTS)
        key, end = os.fsencode(self.words[0]), b""
        if len(self.words) == 2:
            if self.options.is_set("prefix"):
                raise Fault("`range_end` and `--prefix` are mutually exclusive", EXIT_BAD_ARGUMENTS)
            end = os.fsencode(self.words[1])
        if self.options.is_set("prefix"):
            key, end = key or b"\0", answers.prefix_end(key)
        return pb.WatchCreateRequest(
            key=key,
            range_end=end,
            start_revision=self.options.number("rev"),
            prev_kv=self.options.is_set("prev-kv"),
            progress_notify=self.options.is_set("progress-notify"),
        )


def watch(arguments: Sequence[str], options: Options) -> None:
    """Print events until the server or a signal ends it."""
    from_environment = _environment()
    if options.is_set("interactive"):
        _interactive(options, from_environment)
        return
    command_words = options.line[_position(options.line) + 1 :]
    wanted = _wanted(arguments, command_words, options, from_environment)
    session = open_session(options)
    _follow(session, Watch(session, wanted.request()), wanted.command)
    raise Fault("watch is canceled by the server", EXIT_INTERRUPTED)


def _position(line: Sequence[str]) -> int:
    """Where the command's name stands, which may be shortened."""
    return next(place for place, word in enumerate(line) if word and "watch".startswith(word))


def _environment() -> tuple[str, ...]:
    key, end = (os.environ.get(name, "") for name in WATCH_VARIABLES)
    if end and not key:
        text = f"ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={quote(end)}"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    return tuple(word for word in (key, end) if word)


def _wanted(
    arguments: Sequence[str],
    line: Sequence[str],
    options: Options,
    from_environment: tuple[str, ...],
) -> Wanted:
    """Tell keys from the command behind `--`. Raises Fault."""
    command: tuple[str, ...] = ()
    if "--" in line:
        command = tuple(line[line.index("--") + 1 :])
        if not command:
            text = f"{TOO_FEW} (found separator --, but no commands)"
            raise Fault(text, EXIT_BAD_ARGUMENTS)
    elif not line and not from_environment:
        raise Fault(TOO_FEW, EXIT_BAD_ARGUMENTS)
    words = tuple(arguments[: len(arguments) - len(command)])
    if words and from_environment:
        raise Fault(f"{TOO_FEW} (found conflicting environment key)", EXIT_BAD_ARGUMENTS)
    return Wanted((*from_environment, *words), command, options)


def _interactive(options: Options, from_environment: tuple[str, ...]) -> None:
    session = open_session(options)
    watches: list[Watch] = []
    for line in sys.stdin:
        line = line.removesuffix("\n")
        words = split_words(line)
        match words[:1]:
            case []:
                sys.stderr.write(f"Invalid command: {line} (watch and progress supported)\n")
            case ["watch"] if len(words) < 2 and not from_environment:
                sys.stderr.write(f"Invalid command {line} (command type or key is not provided)\n")
            case ["watch"]:
                _begin(session, watches, line, words[1:], from_environment)
            case ["progress"]:
                for one in watches:
                    one.request_progress()
            case _:
                sys.stderr.write(f"Invalid command {line} (only support watch)\n")
    raise Fault("error reading watch request line: EOF", EXIT_INVALID_INPUT)


def _begin(
    session: Session,
    watches: list[Watch],
    line: str,
    words: Sequence[str],
    from_environment: tuple[str, ...],
) -> None:
    try:
        arguments, options = read_flags(ctl_flags.WATCH, words)
    except ValueError as error:
        raise Fault(str(error), EXIT_BAD_ARGUMENTS) from error
    wanted = _wanted(arguments, words, options, from_environment)
    try:
        request = wanted.request()
    except Fault as fault:
        sys.stderr.write(f"Invalid command {line} ({fault})\n")
        return
    watches.append(Watch(session, request))
    threading.Thread(target=_follow, args=(session, watches[-1], wanted.command), daemon=True).start()


def _follow(session: Session, found: Watch, command: Sequence[str]) -> None:
    """Print and run until the watch ends."""
    try:
        for response in found.responses():
            if response.canceled:
                text = TEXT_COMPACTED if response.compact_revision else response.cancel_reason
                sys.stderr.write(f"watch was canceled ({text})\n")
                if not response.compact_revision:
                    response = pb.WatchResponse(canceled=True)
            elif not response.events:
                answers.write(f"progress notify: {response.header.revision}\n")
            session.show(answers.watch(response, session.shape))
            for event in response.events if command else ():
                _run(command, response.header.revision, event)
    except EtcdError as error:
        sys.stderr.write(f"watch was canceled ({go_error(error)})\n")


def _run(command: Sequence[str], revision: int, event: kv.Event) -> None:
    about = {
        "ETCD_WATCH_REVISION": str(revision),
        "ETCD_WATCH_EVENT_TYPE": quote(kv.Event.EventType.Name(event.type)),
        "ETCD_WATCH_KEY": quote(event.kv.key),
        "ETCD_WATCH_VALUE": quote(event.kv.value),
    }
    failure = run_command(command, about)[1]
    if failure:
        shown = " ".join(map(quote, command))
        sys.stderr.write(f"command [{shown}] error ({failure})\n")
        sys.stderr.flush()
        os._exit(EXIT_ERROR)  # from whatever thread


def run_command(command: Sequence[str], about: dict[str, str]) -> tuple[int, str]:
    """Run a command with more in its environment; its exit code, and what Go says of a failure."""
    # What we set for our own library is no concern of the command.
    environment = {
        name: value for name, value in os.environ.items() if (name, value) != ctl_flags.LIBRARY_LOG
    }
    try:
        done = subprocess.run(command, env=environment | about, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        if "/" not in command[0]:
            return EXIT_ERROR, f"exec: {quote(command[0])}: executable file not found in $PATH"
        return EXIT_ERROR, f"fork/exec {command[0]}: {(error.strerror or '').lower()}"
    if done.returncode < 0:
        import signal

        return EXIT_ERROR, f"signal: {(signal.strsignal(-done.returncode) or '').lower()}"
    return done.returncode, f"exit status {done.returncode}" if done.returncode else ""
