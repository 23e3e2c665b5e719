"""`get`, `put`, `del`, `compaction`, and the same three as operations of a transaction."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import Session, go_error, open_session
from etcdpy.ctl.go_text import parse_int, quote
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, EXIT_BAD_FEATURE, EXIT_ERROR, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.ctl.command_line import Options

SORT_TARGETS: Final = {
    "": pb.RangeRequest.KEY,
    "CREATE": pb.RangeRequest.CREATE,
    "KEY": pb.RangeRequest.KEY,
    "MODIFY": pb.RangeRequest.MOD,
    "VALUE": pb.RangeRequest.VALUE,
    "VERSION": pb.RangeRequest.VERSION,
}
SORT_ORDERS: Final = {
    "": pb.RangeRequest.NONE,
    "ASCEND": pb.RangeRequest.ASCEND,
    "DESCEND": pb.RangeRequest.DESCEND,
}


def get(arguments: Sequence[str], options: Options) -> None:
    """Print keys and values."""
    request = range_request(arguments, options)
    from etcdpy.client import rpcs

    session = open_session(options)
    response = _in_pieces(session, request) if options.is_set("stream") else session.call(rpcs.RANGE, request)
    shape = session.shape
    if options.is_set("count-only") and shape.form != "fields":
        raise Fault("--count-only is only for `--write-out=fields`", EXIT_BAD_ARGUMENTS)
    if options.is_set("print-value-only"):
        if shape.form != "simple":
            raise Fault("print-value-only is only for `--write-out=simple`", EXIT_BAD_ARGUMENTS)
        shape = answers.Shape(shape.form, shape.hex, values_only=True)
    shape.show(answers.get(response, shape))


def _in_pieces(session: Session, request: pb.RangeRequest) -> pb.RangeResponse:
    """The same by RangeStream, whose pieces make one answer."""
    from etcdpy.client import rpcs
    from etcdpy.client.errors import EtcdError

    whole = pb.RangeResponse()
    try:
        for piece in session.receive(rpcs.RANGE_STREAM, request, session.command_timeout):
            whole.MergeFrom(piece.range_response)
    except EtcdError as error:
        raise Fault(go_error(error), EXIT_ERROR) from error
    return whole


def range_request(arguments: Sequence[str], options: Options) -> pb.RangeRequest:
    """What `get` asks for. Raises Fault."""
    if not arguments:
        text = "get command needs one argument as key and an optional argument as range_end"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    _check_choice(options, "prefix", "from-key")
    _check_choice(options, "keys-only", "count-only")
    consistency = options.text("consistency")
    if consistency not in ("l", "s"):
        raise Fault(f"unknown consistency flag {quote(consistency)}", EXIT_BAD_FEATURE)
    key, range_end = bounds(arguments, options)
    order, target = options.text("order"), options.text("sort-by")
    if order.upper() not in SORT_ORDERS:
        raise Fault(f"bad sort order {order}", EXIT_BAD_FEATURE)
    if target.upper() not in SORT_TARGETS:
        raise Fault(f"bad sort target {target}", EXIT_BAD_FEATURE)
    sort_order, sort_target = SORT_ORDERS[order.upper()], SORT_TARGETS[target.upper()]
    if sort_target == pb.RangeRequest.KEY and sort_order == pb.RangeRequest.ASCEND:
        sort_order = pb.RangeRequest.NONE  # the order in which keys come anyway
    return pb.RangeRequest(
        key=key,
        range_end=range_end,
        limit=options.number("limit"),
        revision=max(options.number("rev"), 0),
        sort_order=sort_order,
        sort_target=sort_target,
        serializable=consistency == "s",
        keys_only=options.is_set("keys-only"),
        count_only=options.is_set("count-only"),
        min_mod_revision=options.number("min-mod-rev"),
        max_mod_revision=options.number("max-mod-rev"),
        min_create_revision=options.number("min-create-rev"),
        max_create_revision=options.number("max-create-rev"),
    )


def _check_choice(options: Options, first: str, second: str) -> None:
    if options.is_set(first) and options.is_set(second):
        text = f"`--{first}` and `--{second}` cannot be set at the same time, choose one"
        raise Fault(text, EXIT_BAD_ARGUMENTS)


def bounds(arguments: Sequence[str], options: Options) -> tuple[bytes, bytes]:
    """First key and end of a range, from words and from `--prefix` or `--from-key`. Raises Fault."""
    key = os.fsencode(arguments[0])
    prefix, from_key = options.is_set("prefix"), options.is_set("from-key")
    if len(arguments) > 1:
        if prefix or from_key:
            text = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"
            raise Fault(text, EXIT_BAD_ARGUMENTS)
        return key, os.fsencode(arguments[1])
    if prefix:
        return key or b"\0", answers.prefix_end(key)
    return (key or b"\0", answers.OPEN_END) if from_key else (key, b"")


def put(arguments: Sequence[str], options: Options) -> None:
    """Store a value."""
    request = put_request(arguments, options)
    from etcdpy.client import rpcs

    session = open_session(options)
    session.show(answers.put(session.call(rpcs.PUT, request), session.shape))


def put_request(arguments: Sequence[str], options: Options) -> pb.PutRequest:
    """What `put` asks for; the value comes from standard input if it is not given. Raises Fault."""
    if not arguments:
        raise _bad_put()
    ignore_value, ignore_lease = options.is_set("ignore-value"), options.is_set("ignore-lease")
    if ignore_value and len(arguments) > 1:
        text = "put command needs only 1 argument when 'ignore-value' is set"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    value = b""
    if not ignore_value:
        value = os.fsencode(arguments[1]) if len(arguments) > 1 else sys.stdin.buffer.read()
        if len(arguments) == 1 and not value:
            raise _bad_put()
    try:
        lease = parse_int(options.text("lease"), 16)
    except ValueError as error:
        text = f"bad lease ID ({error}), expecting ID in Hex"
        raise Fault(text, EXIT_BAD_ARGUMENTS) from error
    return pb.PutRequest(
        key=os.fsencode(arguments[0]),
        value=value,
        lease=lease,
        prev_kv=options.is_set("prev-kv"),
        ignore_value=ignore_value,
        ignore_lease=ignore_lease,
    )


def _bad_put() -> Fault:
    return Fault("put command needs 1 argument and input from stdin or 2 arguments", EXIT_BAD_ARGUMENTS)


def delete(arguments: Sequence[str], options: Options) -> None:
    """Remove keys."""
    request = delete_request(arguments, options)
    from etcdpy.client import rpcs

    session = open_session(options)
    session.show(answers.delete(session.call(rpcs.DELETE_RANGE, request), session.shape))


def delete_request(arguments: Sequence[str], options: Options) -> pb.DeleteRangeRequest:
    """What `del` asks for. Raises Fault."""
    if not 1 <= len(arguments) <= 2:
        text = "del command needs one argument as key and an optional argument as range_end"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    _check_choice(options, "prefix", "from-key")
    key, range_end = bounds(arguments, options)
    return pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=options.is_set("prev-kv"))


def compaction(arguments: Sequence[str], options: Options) -> None:
    """Forget history."""
    if len(arguments) != 1:
        raise Fault("compaction command needs 1 argument", EXIT_BAD_ARGUMENTS)
    try:
        revision = parse_int(arguments[0])
    except ValueError as error:
        raise Fault(str(error)) from error
    from etcdpy.client import rpcs

    session = open_session(options)
    request = pb.CompactionRequest(revision=revision, physical=options.is_set("physical"))
    session.call(rpcs.COMPACT, request)
    answers.write(f"compacted revision {revision}\n")
