"""`txn`: comparisons, and what to do if they hold or do not, each a block of lines ended by an empty one."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl import ctl_flags
from etcdpy.ctl.command_line import Command, HelpWanted, Options, UsageFault, parse, usage_text
from etcdpy.ctl.ctl_kv import delete_request, put_request, range_request
from etcdpy.ctl.ctl_session import open_session
from etcdpy.ctl.go_text import parse_int, quote, split_words, unquote
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, EXIT_INVALID_INPUT, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS: Final = {
    "=": pb.Compare.EQUAL,
    "!=": pb.Compare.NOT_EQUAL,
    ">": pb.Compare.GREATER,
    "<": pb.Compare.LESS,
}
TARGETS: Final = {
    "ver": pb.Compare.VERSION,
    "version": pb.Compare.VERSION,
    "c": pb.Compare.CREATE,
    "create": pb.Compare.CREATE,
    "m": pb.Compare.MOD,
    "mod": pb.Compare.MOD,
    "val": pb.Compare.VALUE,
    "value": pb.Compare.VALUE,
    "lease": pb.Compare.LEASE,
}


def txn(arguments: Sequence[str], options: Options) -> None:
    """Read a transaction from standard input and send it."""
    if arguments:
        raise Fault("txn command does not accept argument", EXIT_BAD_ARGUMENTS)
    from etcdpy.client import rpcs

    session = open_session(options)
    interactive = options.is_set("interactive")
    request = pb.TxnRequest()
    _prompt("compares:", interactive)
    request.compare.extend(map(parse_compare, _block()))
    _prompt("success requests (get, put, del):", interactive)
    request.success.extend(map(parse_operation, _block()))
    _prompt("failure requests (get, put, del):", interactive)
    request.failure.extend(map(parse_operation, _block()))
    session.show(answers.txn(session.call(rpcs.TXN, request, endless=True), session.shape))


def _prompt(text: str, interactive: bool) -> None:
    if interactive:
        answers.write(text + "\n")


def _block() -> Iterator[str]:
    """The lines up to an empty one. Input must not end before."""
    while True:
        line = sys.stdin.readline()
        if not line.endswith("\n"):
            raise Fault("EOF", EXIT_INVALID_INPUT)
        line = line.strip()
        if not line:
            return
        yield line


def parse_compare(line: str) -> pb.Compare:
    """`mod("key") > "0"`. Raises Fault."""
    target, parenthesis, rest = line.partition("(")
    if not parenthesis:
        raise _malformed(line)
    key, operator, value = _scan(rest)
    if value is None:
        got = f"{target}({quote(key)}) {operator} {quote('')}"
        raise Fault(f"malformed comparison: {line}; got {got}", EXIT_INVALID_INPUT)
    if target not in TARGETS:
        raise _malformed(f"{line} (unknown target {target})")
    if operator not in RESULTS:
        raise _malformed(f"{line} (unknown operator {operator})")
    found = pb.Compare(
        result=RESULTS[operator], target=TARGETS[target], key=key.encode("utf-8", "surrogateescape")
    )
    if found.target == pb.Compare.VALUE:
        found.value = value.encode("utf-8", "surrogateescape")
        return found
    try:
        number = parse_int(value, 16 if target == "lease" else 10)
    except ValueError:
        raise Fault(f"invalid txn compare request: {line}", EXIT_INVALID_INPUT) from None
    match found.target:
        case pb.Compare.VERSION:
            found.version = number
        case pb.Compare.CREATE:
            found.create_revision = number
        case pb.Compare.MOD:
            found.mod_revision = number
        case _:
            found.lease = number
    return found


def _malformed(text: str) -> Fault:
    return Fault(f"malformed comparison: {text}", EXIT_INVALID_INPUT)


def _scan(text: str) -> tuple[str, str, str | None]:
    """Key, operator and value of `"key") > "value"`, as far as they can be read."""
    try:
        key, end = unquote(text)
    except ValueError:
        return "", "", None
    middle = re.match(r"\) +(\S+)( +|$)", text[end:])
    if middle is None:
        return key, "", None
    try:
        return key, middle[1], unquote(text[end + middle.end() :])[0]
    except ValueError:
        return key, middle[1], None


def parse_operation(line: str) -> pb.RequestOp:
    """`put key "a value"`, with the flags of the command of that name. Raises Fault."""
    try:
        words = split_words(line)
    except ValueError as error:
        raise Fault(str(error), EXIT_INVALID_INPUT) from error
    if len(words) < 2:
        raise Fault(f"invalid txn compare request: {line}", EXIT_INVALID_INPUT)
    try:
        wanted = parse(OPERATIONS, words, by_prefix=True)
    except (HelpWanted, UsageFault) as error:
        if error.command is not None:
            sys.stderr.write(usage_text(OPERATIONS, error.command) + "\n")
        raise Fault(f"invalid txn request: {line}", EXIT_INVALID_INPUT) from None
    match wanted.command.name:
        case "get":
            return pb.RequestOp(request_range=range_request(wanted.arguments, wanted.options))
        case "put":
            return pb.RequestOp(request_put=put_request(wanted.arguments, wanted.options))
        case _:
            return pb.RequestOp(request_delete_range=delete_request(wanted.arguments, wanted.options))


def _unused(arguments: Sequence[str], options: Options) -> None:
    raise AssertionError("operations are sent together")


OPERATIONS: Final = Command(
    "",
    "Operations of a transaction",
    commands=(
        Command(
            "get", "Read keys", usage="get [options] <key> [range_end]", flags=ctl_flags.GET, run=_unused
        ),
        Command("put", "Write a key", usage="put [options] <key> <value>", flags=ctl_flags.PUT, run=_unused),
        Command(
            "del", "Remove keys", usage="del [options] <key> [range_end]", flags=ctl_flags.DELETE, run=_unused
        ),
    ),
)
