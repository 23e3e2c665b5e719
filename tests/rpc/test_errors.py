"""The table of statuses: every refusal of the server has its row, and every row reaches the client as it
stands.
"""

from __future__ import annotations

import pytest

from etcdpy import auth
from etcdpy.cluster.membership import MembershipError
from etcdpy.lease import LeaseError, LeaseExpired
from etcdpy.mvcc import Compacted, MvccError
from etcdpy.proto.rpc_pb2 import PutRequest
from etcdpy.rpc.errors import FAULTS, TABLE, Code, RpcError, to_rpc_error
from etcdpy.server import errors
from tests.rpc.fakes import FakeMember
from tests.rpc.harness import run_async, serving_member

pytestmark = pytest.mark.usefixtures("transport")

PUT = "/etcdserverpb.KV/Put"


def leaves(base: type[Exception]) -> set[type[Exception]]:
    below = base.__subclasses__()
    return {base} if not below else set().union(*map(leaves, below))


def test_every_refusal_of_the_server_and_of_membership_has_a_row() -> None:
    # NotSupported tells what is not supported and so has no fixed text.
    expected = leaves(errors.ServerError) | leaves(MembershipError) | {errors.Timeout}
    assert expected - set(TABLE) == {errors.NotSupported}


def test_what_has_no_row_is_unknown_with_its_own_text() -> None:
    error = to_rpc_error(LeaseExpired("lease 7 expired"))
    assert (error.code, error.message) == (Code.UNKNOWN, "lease 7 expired")


def test_what_is_not_supported_is_unimplemented() -> None:
    error = to_rpc_error(errors.NotSupported("auth_enable"))
    assert (error.code, error.message) == (Code.UNIMPLEMENTED, "etcdserver: not supported: auth_enable")


def test_a_status_passes_through() -> None:
    error = RpcError(Code.ABORTED, "as it is")
    assert to_rpc_error(error) is error


def test_a_status_reads_as_go_prints_it() -> None:
    error = to_rpc_error(auth.PermissionDenied())
    assert str(error) == "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    error = to_rpc_error(auth.InvalidAuthToken())
    assert str(error) == "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
    assert str(RpcError(Code.OUT_OF_RANGE, "x")) == "rpc error: code = OutOfRange desc = x"


def test_services_catch_what_the_rooms_below_raise() -> None:
    for fault in TABLE:
        assert issubclass(fault, FAULTS)
    assert issubclass(MvccError, FAULTS)
    assert issubclass(LeaseError, FAULTS)


@run_async
async def test_every_row_reaches_the_client() -> None:
    member = FakeMember()
    request = PutRequest(key=b"a")
    async with serving_member(member) as client:
        for fault, (code, text) in TABLE.items():
            member.propose_error = fault()
            assert await client.refusal(PUT, request) == (int(code), text)


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        # Those that surprise: the code is not the one of etcd's own table, or the text is not the class's
        # subject.
        (errors.TooManyRequests, 2, "etcdserver: too many requests"),
        (
            errors.MemberNotEnoughStarted,
            2,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        (Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
        (errors.NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
        (errors.CallerDeadline, 4, "context deadline exceeded"),
        (errors.Corrupt, 15, "etcdserver: corrupt cluster"),
        (errors.ProposalDropped, 2, "raft proposal dropped"),
    ],
)
def test_surprising_rows(fault: type[Exception], code: int, text: str) -> None:
    error = to_rpc_error(fault())
    assert (int(error.code), error.message) == (code, text)
