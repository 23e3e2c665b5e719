"""`lease grant`, `revoke`, `timetolive`, `list` and `keep-alive`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import go_error, open_session
from etcdpy.ctl.go_text import parse_int
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, EXIT_BAD_CONNECTION, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.ctl.command_line import Options


def _lease_id(text: str) -> int:
    try:
        return parse_int(text, 16)
    except ValueError as error:
        raise Fault(f"bad lease ID arg ({error}), expecting ID in Hex", EXIT_BAD_ARGUMENTS) from error


def grant(arguments: Sequence[str], options: Options) -> None:
    """Make a lease."""
    if len(arguments) != 1:
        raise Fault("lease grant command needs TTL argument", EXIT_BAD_ARGUMENTS)
    try:
        seconds = parse_int(arguments[0])
    except ValueError as error:
        raise Fault(f"bad TTL ({error})", EXIT_BAD_ARGUMENTS) from error
    from etcdpy.client import rpcs
    from etcdpy.client.errors import EtcdError

    session = open_session(options)
    try:
        response = session.try_call(rpcs.LEASE_GRANT, pb.LeaseGrantRequest(TTL=seconds))
    except EtcdError as error:
        raise Fault(f"failed to grant lease ({go_error(error)})") from error
    session.show(answers.grant(response))


def revoke(arguments: Sequence[str], options: Options) -> None:
    """End a lease and its keys."""
    if len(arguments) != 1:
        raise Fault("lease revoke command needs 1 argument", EXIT_BAD_ARGUMENTS)
    lease = _lease_id(arguments[0])
    from etcdpy.client import rpcs
    from etcdpy.client.errors import EtcdError

    session = open_session(options)
    try:
        response = session.try_call(rpcs.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease))
    except EtcdError as error:
        raise Fault(f"failed to revoke lease ({go_error(error)})") from error
    session.show(answers.plain(response, f"lease {lease:016x} revoked"))


def time_to_live(arguments: Sequence[str], options: Options) -> None:
    """Tell how long a lease has."""
    if len(arguments) != 1:
        raise Fault("lease timetolive command needs lease ID as argument", EXIT_BAD_ARGUMENTS)
    from etcdpy.client import rpcs

    session = open_session(options)
    keys = options.is_set("keys")
    request = pb.LeaseTimeToLiveRequest(ID=_lease_id(arguments[0]), keys=keys)
    response = session.call(rpcs.LEASE_TIME_TO_LIVE, request, code=EXIT_BAD_CONNECTION)
    session.show(answers.time_to_live(response, keys=keys))


def leases(arguments: Sequence[str], options: Options) -> None:
    """Tell which leases there are."""
    from etcdpy.client import rpcs

    session = open_session(options)
    response = session.call(rpcs.LEASE_LEASES, pb.LeaseLeasesRequest(), code=EXIT_BAD_CONNECTION)
    session.show(answers.leases(response))


def keep_alive(arguments: Sequence[str], options: Options) -> None:
    """Renew a lease until it ends."""
    if len(arguments) != 1:
        raise Fault("lease keep-alive command needs lease ID as argument", EXIT_BAD_ARGUMENTS)
    lease = _lease_id(arguments[0])
    from etcdpy.ctl.ctl_streams import EXPIRED, renew_once, renewals

    session = open_session(options)
    if options.is_set("once"):
        response = renew_once(session, lease)
        if response.TTL <= 0:
            raise Fault(EXPIRED, EXIT_BAD_CONNECTION)
        session.show(answers.keep_alive(response))
        return
    for response in renewals(session, lease):
        session.show(answers.keep_alive(response))
    answers.write(f"lease {lease:016x} expired or revoked.\n")
