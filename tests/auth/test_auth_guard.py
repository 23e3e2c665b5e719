"""No call is left unasked, now or when somebody adds one; and in which order a call is asked what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from etcdpy.auth import AuthStore, SimpleTokens
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.rpc.errors import CALLER_CANCELED
from etcdpy.rpc.services import Health, make_router
from tests.rpc.fakes import FakeMember, RecordingCall

from .conftest import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from .conftest import Callers

SERVICES: Any = pb.DESCRIPTOR.services_by_name
CALLS = {
    f"/{service.full_name}/{method.name}": method
    for service in SERVICES.values()
    for method in service.methods
    if not method.client_streaming
}
# For everybody: how else should they begin.
OPEN = {"/etcdserverpb.Auth/Authenticate"}


def request_of(method: Any) -> Message:
    """A request that nothing but the missing name can be held against."""
    request: Message = method.input_type._concrete_class()
    for name, value in (("key", b"k"), ("name", "n"), ("peerURLs", ["http://127.0.0.1:1"])):
        field = method.input_type.fields_by_name.get(name)
        if field is not None and name == "peerURLs":
            request.peerURLs.extend(value)  # type: ignore[attr-defined]
        elif field is not None:
            setattr(request, name, value)
    if isinstance(request, pb.TxnRequest):
        request.compare.add(key=b"k")
    return request


@pytest.mark.cluster
@pytest.mark.parametrize("path", sorted(CALLS.keys() - OPEN))
def test_every_call_asks_who_makes_it(callers: Callers, path: str) -> None:
    method = CALLS[path]
    answer = callers.nobody.stream(path, request_of(method), method.output_type._concrete_class)
    assert answer == NOBODY


def guarded_member() -> FakeMember:
    member = FakeMember()
    auth = member.state.auth
    auth.user_add(pb.AuthUserAddRequest(name="root"))
    auth.user_grant_role(pb.AuthUserGrantRoleRequest(user="root", role="root"))
    auth.enable(pb.AuthEnableRequest())
    return member


def start(member: FakeMember, path: str, request: Message | None, token: str) -> RecordingCall:
    router = make_router(member, Health())
    method = router.method(path)
    assert method is not None
    call = RecordingCall(path, {"token": token})
    router.start(method, call, b"" if request is None else request.SerializeToString())
    return call


@pytest.mark.parametrize(
    ("path", "request_", "text"),
    [
        ("/etcdserverpb.KV/Put", pb.PutRequest(), "etcdserver: key is not provided"),
        ("/etcdserverpb.KV/Range", pb.RangeRequest(), "etcdserver: key is not provided"),
        ("/etcdserverpb.KV/Put", pb.PutRequest(key=b"k"), "etcdserver: invalid auth token"),
        ("/etcdserverpb.KV/Range", pb.RangeRequest(key=b"k"), "etcdserver: invalid auth token"),
        ("/etcdserverpb.Maintenance/Alarm", pb.AlarmRequest(), "etcdserver: invalid auth token"),
        ("/etcdserverpb.Cluster/MemberList", pb.MemberListRequest(), "etcdserver: invalid auth token"),
    ],
)
def test_a_request_is_looked_at_before_its_caller(path: str, request_: Message, text: str) -> None:
    call = start(guarded_member(), path, request_, "wrong")
    assert call.error is not None
    assert call.error.message == text


class Waiting(FakeMember):
    """Entries come when the test says so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.waiting: list[tuple[int, Callable[[], None]]] = []

    def when_applied(self, index: int, done: Callable[[], None]) -> None:
        self.waiting.append((index, done))


@pytest.mark.parametrize(
    ("path", "request_"),
    [("/etcdserverpb.KV/Range", pb.RangeRequest(key=b"k")), ("/etcdserverpb.Watch/Watch", None)],
)
@pytest.mark.parametrize("leaves", [False, True])
def test_a_call_begins_when_the_login_is_here(path: str, request_: Message | None, leaves: bool) -> None:
    member = Waiting()
    tokens = SimpleTokens(300, lambda: 0.0)
    member.state.auth = AuthStore(member.state.backend, tokens)
    guarded = member.state.auth
    guarded.user_add(pb.AuthUserAddRequest(name="root"))
    guarded.user_grant_role(pb.AuthUserGrantRoleRequest(user="root", role="root"))
    guarded.enable(pb.AuthEnableRequest())
    member.applied_index = 6
    call = start(member, path, request_, "word.7")
    assert call.error is None
    assert call.on_message is None
    assert not call.closed
    ((index, done),) = member.waiting
    assert index == 7
    tokens.assign("root", 1, "word", 7)
    if leaves:
        call.abort(CALLER_CANCELED)
    done()
    begun = bool(call.sent) or call.on_message is not None
    assert begun is not leaves
