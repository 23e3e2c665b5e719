"""What happens to calls is counted as go-grpc-prometheus counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.rpc.call_counts import OTHER_VERSION, VERSIONS_MAX, CallLedger
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.router import Kind, Method, Router
from tests.rpc.grpc_wire import NoMember, Wire, packed, router_of

if TYPE_CHECKING:
    from etcdpy.rpc.call import Call

PATH = "/test.Service/Method"
VERSION = ("client-api-version", "3.5")


def samples(router: Router, *, extensive: bool = False) -> dict[str, str]:
    """Series that are not zero, those of the test's method by their short names."""
    families = router.ledger.families(extensive=extensive)
    lines = [line for family in families for line in family.text.splitlines()]
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {_short(name): value for name, value in pairs if value != "0"}


def _short(name: str) -> str:
    family, _, rest = name.partition("{")
    code = rest.split('"')[1] if rest.startswith("grpc_code") else ""
    family = family.removeprefix("grpc_server_").removeprefix("etcd_network_client_grpc_")
    return f"{family} {code}" if code else name if "client_requests" in name else family


def test_a_unary_call() -> None:
    router = router_of(Kind.UNARY, lambda call, data: call.reply(b"answer"))
    Wire(router).call(b"ask", VERSION)
    assert samples(router) == {
        "started_total": "1",
        "handled_total OK": "1",
        "msg_received_total": "1",
        "msg_sent_total": "1",
        "received_bytes_total": "3",
        "sent_bytes_total": "6",
        'etcd_server_client_requests_total{client_api_version="3.5",type="unary"}': "1",
    }


def test_a_unary_call_that_fails() -> None:
    router = router_of(Kind.UNARY, lambda call, data: call.fail(RpcError(Code.NOT_FOUND, "no")))
    Wire(router).call(b"ask")
    found = samples(router)
    assert found["handled_total NotFound"] == "1"
    assert "msg_sent_total" not in found
    assert found['etcd_server_client_requests_total{client_api_version="unknown",type="unary"}'] == "1"


def test_a_stream_in_both_directions() -> None:
    calls: list[Call] = []

    def begin(call: Call, data: bytes) -> None:
        calls.append(call)
        call.on_message = call.send

    router = router_of(Kind.BIDI_STREAM, begin)
    client = Wire(router)
    stream = client.open(VERSION)
    for message in (b"one", b"three"):
        client.body(stream, packed(message))
    client.body(stream, packed(b"four") + packed(b"five!"))
    calls[0].send_parts([b"a", b"bc", b"def"])
    client.flush()
    client.body(stream, b"", end=True)
    calls[0].finish()
    assert samples(router) == {
        "started_total": "1",
        "handled_total OK": "1",
        "msg_received_total": "4",
        "msg_sent_total": "5",
        "received_bytes_total": "17",
        "sent_bytes_total": "23",
        'etcd_server_client_requests_total{client_api_version="3.5",type="stream"}': "1",
    }


@pytest.mark.parametrize("code", [Code.CANCELED, Code.UNAVAILABLE])
def test_a_client_that_leaves_is_counted_by_the_code_of_the_method(code: Code) -> None:
    method = Method(PATH, Kind.BIDI_STREAM, lambda call, data: None, code_if_left=code)
    router = Router(NoMember(), [method])  # type: ignore[arg-type]  # enough of a member
    client = Wire(router)
    client.reset(client.open())
    assert samples(router)[f"handled_total {'Canceled' if code is Code.CANCELED else 'Unavailable'}"] == "1"


def test_what_the_first_checks_refuse_is_not_counted() -> None:
    router = router_of(Kind.UNARY, lambda call, data: call.reply(b""))
    NoMember.leader_id = 0
    try:
        answer = Wire(router).call(b"ask", ("hasleader", "true"))
    finally:
        NoMember.leader_id = 1
    assert answer.status[0] == Code.UNAVAILABLE
    assert samples(router) == {}


def test_a_call_whose_deadline_passes_before_its_request_is_there_is_not_counted() -> None:
    router = router_of(Kind.UNARY, lambda call, data: call.reply(b""))
    client = Wire(router)
    client.open(("grpc-timeout", "0S"))
    client.open(("grpc-timeout", "1S"))
    client.advance(2)
    assert samples(router) == {}


def test_times_are_kept_when_somebody_asks_for_them() -> None:
    calls: list[Call] = []
    router = router_of(Kind.UNARY, lambda call, data: calls.append(call))
    client = Wire(router)
    router.clock = client.clock.time
    client.clock.advance(1)
    client.call(b"")
    client.clock.advance(0.02)
    calls[0].reply(b"")
    [text] = [f.text for f in router.ledger.families(extensive=True) if f.name.endswith("handling_seconds")]
    assert 'le="0.01"} 0\n' in text
    assert 'le="0.025"} 1\n' in text
    assert all(
        "handling" not in family.name or not family.text for family in router.ledger.families(extensive=False)
    )


def test_versions_that_strangers_make_up_are_bounded() -> None:
    method = Method(PATH, Kind.UNARY, lambda call, data: None)
    ledger = CallLedger([method])
    for number in range(3 * VERSIONS_MAX):
        ledger.counts(method, f"v{number}").started += 1
    [requests] = [one for one in ledger.families(extensive=False) if "client_requests" in one.name]
    assert len(requests.text.splitlines()) == 2 + VERSIONS_MAX + 1
    assert f'client_api_version="{OTHER_VERSION}",type="unary"}} {2 * VERSIONS_MAX}' in requests.text


@pytest.mark.parametrize("service", ["v3lockpb.Lock", "v3electionpb.Election"])
def test_some_services_appear_with_their_first_call(service: str) -> None:
    method = Method(f"/{service}/Method", Kind.UNARY, lambda call, data: None)
    ledger = CallLedger([method])
    assert service not in "".join(family.text for family in ledger.families(extensive=True))
    ledger.counts(method, None).started += 1
    assert service in "".join(family.text for family in ledger.families(extensive=True))
