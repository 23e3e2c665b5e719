"""Events put together by hand are what protobuf would have made."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.mvcc import Event as Change
from etcdpy.mvcc import EventType
from etcdpy.mvcc.watch_events import EncodedEvents, EventEncoder, encode_event
from etcdpy.proto.kv_pb2 import Event, KeyValue
from etcdpy.proto.rpc_pb2 import WatchResponse

values = st.binary(max_size=3) | st.sampled_from(
    [bytes(100), bytes(127), bytes(128), bytes(16_400), bytes(2_100_000)]
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(values, st.none() | values, st.sampled_from(EventType), st.integers(2, 2**62))
def test_same_bytes_as_protobuf(value: bytes, previous: bytes | None, kind: EventType, revision: int) -> None:
    stored = KeyValue(key=b"key", value=value, version=3, mod_revision=revision)
    shown = KeyValue(key=b"key", mod_revision=revision) if kind is EventType.DELETE else stored
    event = Event(type=kind, kv=shown)
    before = None
    if previous is not None:
        event.prev_kv.CopyFrom(KeyValue(key=b"key", value=previous))
        before = event.prev_kv.SerializeToString()
    change = Change(kind, b"key", stored.SerializeToString(), revision, False, 0, None)
    assert encode_event(change, before) == WatchResponse(events=[event]).SerializeToString()


def test_an_event_is_encoded_once_in_each_form() -> None:
    asked: list[Change] = []

    def previous(event: Change) -> bytes | None:
        asked.append(event)
        return None

    encoder = EventEncoder(previous)
    change = Change(EventType.PUT, b"k", KeyValue(key=b"k").SerializeToString(), 2, True, 0, None)
    plain = encoder.encode(0, change, False)
    assert asked == []
    assert encoder.encode(0, change, False) is plain
    assert encoder.encode(0, change, True) is encoder.encode(0, change, True)
    assert asked == [change]


def test_the_data_of_a_response_is_joined_once() -> None:
    events = EncodedEvents([b"one", b"two"])
    assert events.data == b"onetwo"
    assert events.data is events.data
    assert len(events) == 2
