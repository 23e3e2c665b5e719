"""Commands that ask each endpoint by itself: `endpoint`, `defrag`; and those about alarms and snapshots."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from etcdpy.client import rpcs
from etcdpy.client.errors import EtcdError
from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_fields import alarm_name
from etcdpy.ctl.ctl_session import at_endpoint, go_error, open_session, unauthenticated_session
from etcdpy.ctl.go_text import duration_text
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, EXIT_ERROR, EXIT_INTERRUPTED, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.ctl_session import Session

# A refused read shows that the cluster decides, and so that it lives.
DENIED: Final = "etcdserver: permission denied"
PROBE_KEY: Final = b"health"


def _endpoints(session: Session) -> tuple[str, ...]:
    if not session.options.is_set("cluster"):
        return session.settings.endpoints
    try:
        listed = session.try_call(rpcs.MEMBER_LIST, pb.MemberListRequest(linearizable=True))
    except EtcdError as error:
        text = f"failed to fetch endpoints from etcd cluster member list: {go_error(error)}"
        raise Fault(text) from error
    return tuple(url for member in listed.members for url in member.clientURLs)


def health(arguments: Sequence[str], options: Options) -> None:
    """Tell of each endpoint whether the cluster answers through it."""
    session = unauthenticated_session(options)
    endpoints = _endpoints(session)
    with ThreadPoolExecutor(max(len(endpoints), 1)) as threads:
        found = list(threads.map(lambda endpoint: _probe(session, endpoint), endpoints))
    if session.shape.form == "simple":
        for one in found:
            _tell_health(one)
    else:
        session.show(answers.endpoint_health(found))
    if not all(one.health for one in found):
        raise Fault("unhealthy cluster")


def _tell_health(one: answers.EndpointHealth) -> None:
    if one.health:
        answers.write(f"{one.endpoint} is healthy: successfully committed proposal: took = {one.took}\n")
    else:
        sys.stderr.write(f"{one.endpoint} is unhealthy: failed to commit proposal: {one.error}\n")


def _probe(session: Session, endpoint: str) -> answers.EndpointHealth:
    try:
        one = at_endpoint(session, endpoint)
    except Fault as fault:
        return answers.EndpointHealth(endpoint, health=False, error=str(fault))
    started = time.monotonic()
    error = ""
    try:
        one.try_call(rpcs.RANGE, pb.RangeRequest(key=PROBE_KEY))
    except EtcdError as refusal:
        error = "" if refusal.text == DENIED else go_error(refusal)
    took = duration_text(time.monotonic() - started)
    if not error:
        error = _alarms_of(one)
    one.close()
    return answers.EndpointHealth(endpoint, health=not error, took=took, error=error)


def _alarms_of(session: Session) -> str:
    try:
        response = session.try_call(rpcs.ALARM, _alarm_question())
    except EtcdError:
        return "Unable to fetch the alarm list"
    names = "".join(f"{alarm_name(alarm)} " for alarm in response.alarms)
    return f"Active Alarm(s): {names}" if names else ""


def _alarm_question() -> pb.AlarmRequest:
    return pb.AlarmRequest(action=pb.AlarmRequest.GET)


def status(arguments: Sequence[str], options: Options) -> None:
    """Tell size, leader, term and index of each endpoint."""
    session = open_session(options)
    found = []
    failed = False
    for endpoint in _endpoints(session):
        try:
            response = session.try_call(rpcs.STATUS, pb.StatusRequest(), endpoint=endpoint)
        except EtcdError as error:
            failed = True
            sys.stderr.write(f"Failed to get the status of endpoint {endpoint} ({go_error(error)})\n")
        else:
            found.append(answers.EndpointStatus(endpoint, response))
    session.show(answers.endpoint_status(found))
    if failed:
        raise Fault("", EXIT_ERROR)


def hashkv(arguments: Sequence[str], options: Options) -> None:
    """Tell the hash of each endpoint's keys."""
    session = open_session(options)
    request = pb.HashKVRequest(revision=options.number("rev"))
    found = []
    failure = ""
    for endpoint in _endpoints(session):
        try:
            response = session.try_call(rpcs.HASH_KV, request, endpoint=endpoint)
        except EtcdError as error:
            failure = go_error(error)
            sys.stderr.write(f"Failed to get the hash of endpoint {endpoint} ({failure})\n")
        else:
            found.append(answers.EndpointHash(endpoint, response))
    session.show(answers.endpoint_hash(found))
    if failure:
        raise Fault(failure)


def defrag(arguments: Sequence[str], options: Options) -> None:
    """Let each endpoint give free pages back; or do it in a directory without a server."""
    if options.text("data-dir"):
        from etcdpy.ctl.utl import defrag as defrag_directory

        defrag_directory(arguments, options)
        return
    session = open_session(options)
    failed = False
    for endpoint in _endpoints(session):
        try:
            session.try_call(rpcs.DEFRAGMENT, pb.DefragmentRequest(), endpoint=endpoint)
        except EtcdError as error:
            failed = True
            sys.stderr.write(f"Failed to defragment etcd member[{endpoint}] ({go_error(error)})\n")
        else:
            answers.write(f"Finished defragmenting etcd member[{endpoint}]\n")
    if failed:
        raise Fault("", EXIT_ERROR)


def alarm_list(arguments: Sequence[str], options: Options) -> None:
    """Tell which alarms are on."""
    if arguments:
        raise Fault("alarm list command accepts no arguments", EXIT_BAD_ARGUMENTS)
    session = open_session(options)
    session.show(answers.alarms(session.call(rpcs.ALARM, _alarm_question())))


def alarm_disarm(arguments: Sequence[str], options: Options) -> None:
    """Switch all alarms off."""
    if arguments:
        raise Fault("alarm disarm command accepts no arguments", EXIT_BAD_ARGUMENTS)
    session = open_session(options)
    done = pb.AlarmResponse()
    for alarm in session.call(rpcs.ALARM, _alarm_question()).alarms:
        request = pb.AlarmRequest(
            action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
        )
        done.alarms.extend(session.call(rpcs.ALARM, request).alarms)
    session.show(answers.alarms(done))


def snapshot_save(arguments: Sequence[str], options: Options) -> None:
    """Store what one endpoint has in a file, which is there whole or not at all."""
    if len(arguments) != 1:
        raise Fault("snapshot save expects one argument", EXIT_BAD_ARGUMENTS)
    path = arguments[0]
    session = open_session(options)
    endpoints = session.settings.endpoints
    if len(endpoints) != 1:
        shown = " ".join(endpoints)
        text = f"snapshot must be requested to one selected node, not multiple [{shown}]"
        raise Fault(text, EXIT_INTERRUPTED)
    part = f"{path}.part"
    limit = session.command_timeout if "command-timeout" in options.given else None
    try:
        with _open_part(part) as file:
            _receive(session, file, limit)
        os.replace(part, path)
    except (Fault, OSError) as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, Fault):
            raise
        text = f"could not rename {part} to {path} ({(error.strerror or '').lower()})"
        raise Fault(text, EXIT_INTERRUPTED) from error
    answers.write(f"Snapshot saved at {path}\n")


def _open_part(part: str) -> BinaryIO:
    try:
        return open(part, "wb")
    except OSError as error:
        text = f"could not open {part} (open {part}: {(error.strerror or '').lower()})"
        raise Fault(text, EXIT_INTERRUPTED) from error


def _receive(session: Session, file: BinaryIO, limit: float | None) -> None:
    size = 0
    try:
        for response in session.receive(rpcs.SNAPSHOT, pb.SnapshotRequest(), limit):
            size += file.write(response.blob)
        file.flush()
        os.fsync(file.fileno())
    except EtcdError as error:
        raise Fault(go_error(error), EXIT_INTERRUPTED) from error
    except OSError as error:
        raise Fault(f"could not write {file.name} ({error.strerror})", EXIT_INTERRUPTED) from error
    # A digest of the rest ends the stream, and pages are larger than it.
    if size % 512 != 32:
        raise Fault(f"sha256 checksum not found [bytes: {size}]", EXIT_INTERRUPTED)


def snapshot_status(arguments: Sequence[str], options: Options) -> None:
    """Sum a snapshot up."""
    from etcdpy.ctl.utl_snapshot import status as utl_status

    _deprecated("status")
    utl_status(arguments, options)


def snapshot_restore(arguments: Sequence[str], options: Options) -> None:
    """Make a data directory of a snapshot."""
    from etcdpy.ctl.utl_snapshot import restore

    _deprecated("restore")
    restore(arguments, options)


def _deprecated(command: str) -> None:
    sys.stderr.write(f"Deprecated: Use `etcdpyutl snapshot {command}` instead.\n\n")
