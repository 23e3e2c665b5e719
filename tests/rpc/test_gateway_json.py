"""Messages as JSON: the mapping, malformed input, and values that come one after the other."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.proto import election_pb2, lock_pb2, rpc_pb2
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.kv_pb2 import Event, KeyValue
from etcdpy.rpc.gateway_json import MalformedJson, Splitter, decode, encode

if TYPE_CHECKING:
    from google.protobuf.message import Message

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def read(text: str | bytes, message_type: Any = pb.RangeRequest) -> Any:
    message = message_type()
    decode(text.encode() if isinstance(text, str) else text, message)
    return message


def refusal(text: str | bytes, message_type: Any = pb.RangeRequest) -> str:
    with pytest.raises(MalformedJson) as refused:
        read(text, message_type)
    return str(refused.value)


def one(name: str, value: str) -> str:
    """An object with one member, its value as it is written in JSON."""
    return f'{{"{name}":{value}}}'


def test_defaults_are_left_out_and_wide_numbers_are_strings() -> None:
    header = pb.ResponseHeader(cluster_id=(1 << 64) - 1, revision=7)
    response = pb.RangeResponse(header=header, kvs=[KeyValue(key=b"a", version=1)], count=1)
    assert encode(response) == (
        '{"header":{"cluster_id":"18446744073709551615","revision":"7"},'
        '"kvs":[{"key":"YQ==","version":"1"}],"count":"1"}'
    )
    assert encode(pb.RangeResponse(more=True)) == '{"more":true}'
    assert encode(pb.HashKVResponse(hash=4_000_000_000)) == '{"hash":4000000000}'
    assert encode(pb.LeaseGrantResponse(ID=-5, error="x")) == '{"ID":"-5","error":"x"}'


def test_presence_enums_and_strings() -> None:
    operation = pb.ResponseOp(response_put=pb.PutResponse())
    assert encode(pb.TxnResponse(responses=[operation])) == '{"responses":[{"response_put":{}}]}'
    assert encode(Event(type=Event.DELETE)) == '{"type":"DELETE"}'
    alarms = [pb.AlarmMember(memberID=1, alarm=pb.NOSPACE), pb.AlarmMember(alarm=77)]  # type: ignore[arg-type]
    assert encode(pb.AlarmResponse(alarms=alarms)) == (
        '{"alarms":[{"memberID":"1","alarm":"NOSPACE"},{"alarm":77}]}'
    )
    compare = pb.Compare(version=0)
    assert encode(compare) == '{"version":"0"}'
    member = pb.Member(name='é"\\\n<>', peerURLs=["http://a:1"])
    assert json.loads(encode(member)) == {"name": 'é"\\\n<>', "peerURLs": ["http://a:1"]}
    assert '"é' in encode(member)


def test_the_order_of_numbers_is_the_order_of_declaration() -> None:
    """`encode` goes by declaration, other implementations of the mapping by number."""
    for module in (rpc_pb2, lock_pb2, election_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            numbers = [field.number for field in message.fields]
            if not message.name.endswith("Request") and message.name != "Compare":
                assert numbers == sorted(numbers), message.full_name


def test_names_and_unknown_names() -> None:
    assert read('{"range_end":"YQ=="}') == read('{"rangeEnd":"YQ==","other":[{"a":null}]}')
    assert read('{"range_end":"YQ=="}') == pb.RangeRequest(range_end=b"a")


@pytest.mark.parametrize("text", ["", "  \n", "null", "{}", '{"key":null,"limit":null}', '{"x":1e999}'])
def test_nothing_is_the_empty_message(text: str) -> None:
    assert read(text) == pb.RangeRequest()


@pytest.mark.parametrize("text", ["7", '"7"', "7.0", "70e-1", '"0.7e1"', "0.7E+1", "7.000000"])
def test_whole_numbers_in_any_way(text: str) -> None:
    assert read(one("limit", text)).limit == 7


@pytest.mark.parametrize(
    "text",
    [
        *(
            "7.5",
            '"7x"',
            '""',
            "true",
            '" 7"',
            "1e400",
            '"1e999999999"',
            "9223372036854775808",
            "[7]",
            '"NaN"',
        ),
        *("9" * 5000, '"-9223372036854775809"', '"Infinity"', '"0x7"', '"7_0"', '"\u0667"', '"+7"', '"1."'),
    ],
)
def test_numbers_that_do_not_fit(text: str) -> None:
    assert refusal(one("limit", text)).startswith("invalid value for int64 field limit")


def test_narrow_and_unsigned_numbers() -> None:
    assert read('{"sort_order":2}').sort_order == 2
    assert read('{"sort_order":"DESCEND"}').sort_order == 2
    assert read('{"sort_order":99}').sort_order == 99
    assert read('{"sort_order":"UNHEARD_OF"}').sort_order == 0
    assert "SortOrder field sort_order" in refusal('{"sort_order":2147483648}')
    assert read('{"ID":18446744073709551615}', pb.MemberRemoveRequest).ID == (1 << 64) - 1
    assert "uint64 field ID" in refusal('{"ID":-1}', pb.MemberRemoveRequest)
    assert read('{"filters":["NODELETE",0,"WHAT"]}', pb.WatchCreateRequest).filters == [1, 0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("+/8=", b"\xfb\xff"),
        ("-_8=", b"\xfb\xff"),
        ("+/8", b"\xfb\xff"),
        ("-_8", b"\xfb\xff"),
        ("", b""),
        ("YWJj", b"abc"),
    ],
)
def test_base64_of_both_alphabets(text: str, value: bytes) -> None:
    assert read(one("key", f'"{text}"')).key == value


@pytest.mark.parametrize(
    "text", ['"+_8="', '"YQ="', '"YQ=a"', '"Y"', '"YQ==YQ=="', '"Y Q"', "7", "[]", '"é"']
)
def test_what_is_no_base64(text: str) -> None:
    assert refusal(one("key", text)).startswith("invalid value for bytes field key")


@pytest.mark.parametrize("text", ['"true"', "1", "0", "{}"])
def test_what_is_no_boolean(text: str) -> None:
    assert refusal(one("serializable", text)).startswith("invalid value for bool field")


def test_oneofs() -> None:
    operation = read('{"requestPut":{"key":"YQ=="},"request_range":null}', pb.RequestOp)
    assert operation.WhichOneof("request") == "request_put"
    assert read('{"request_range":{}}', pb.RequestOp).WhichOneof("request") == "request_range"
    assert read('{"version":0}', pb.Compare).WhichOneof("target_union") == "version"
    text = refusal('{"version":1,"value":"YQ=="}', pb.Compare)
    assert text == 'error parsing "value", oneof target_union is already set'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"key":"YQ==","key":"YQ=="}', 'duplicate field "key"'),
        ('{"range_end":"","rangeEnd":""}', 'duplicate field "rangeEnd"'),
        ("[]", "syntax error: unexpected array for etcdserverpb.RangeRequest"),
        ("7", "syntax error: unexpected number for etcdserverpb.RangeRequest"),
        ("true", "syntax error: unexpected boolean for etcdserverpb.RangeRequest"),
        ("{", "unexpected EOF"),
        ('{"key":"YQ', "unexpected EOF"),
        ('{"limit":NaN}', "syntax error: invalid value NaN"),
        (b'{"key":"\xff"}', "invalid UTF-8"),
        ("[" * 100_000, "exceeded max depth"),
        ('{"a":' * 100_000, "exceeded max depth"),
    ],
)
def test_malformed(text: str | bytes, words: str) -> None:
    assert refusal(text) == words


def test_malformed_members() -> None:
    assert "lone" not in refusal('{"name":"\\ud800"}', pb.AuthUserAddRequest)
    assert refusal('{"name":7}', pb.AuthUserAddRequest) == "invalid value for string field name: 7"
    assert "not an array" in refusal('{"peerURLs":"a"}', pb.MemberAddRequest)
    assert "unexpected null" in refusal('{"compare":[null]}', pb.TxnRequest)
    deep = '{"success":[{"request_txn":' * 500 + "{}" + "}]}" * 500
    assert refusal(deep, pb.TxnRequest) == "exceeded max depth"


def test_what_follows_the_value_is_not_read() -> None:
    assert read('{"key":"YQ=="} rubbish').key == b"a"


KEY_VALUES = st.builds(
    KeyValue, key=st.binary(max_size=20), value=st.binary(max_size=20), version=INT64, lease=INT64
)
RESPONSES = st.one_of(
    st.builds(
        pb.RangeResponse,
        header=st.builds(pb.ResponseHeader, cluster_id=st.integers(0, (1 << 64) - 1), revision=INT64),
        kvs=st.lists(KEY_VALUES, max_size=3),
        more=st.booleans(),
        count=INT64,
    ),
    st.builds(
        pb.WatchResponse,
        watch_id=INT64,
        created=st.booleans(),
        cancel_reason=st.text(max_size=10),
        events=st.lists(
            st.builds(Event, type=st.sampled_from((0, 1)), kv=KEY_VALUES, prev_kv=KEY_VALUES), max_size=3
        ),
    ),
    st.builds(
        pb.StatusResponse, version=st.text(max_size=10), errors=st.lists(st.text(max_size=9), max_size=3)
    ),
    st.builds(pb.Compare, key=st.binary(max_size=4), create_revision=INT64),
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(message=RESPONSES)
def test_protobufs_own_mapping_agrees(message: Message) -> None:
    text = encode(message)
    theirs = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert json.loads(text) == theirs
    assert read(text, type(message)) == message
    assert read(json_format.MessageToJson(message), type(message)) == message


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=60), st.text(alphabet='{}[]":,0123456789eE.-abkeylimtrunsf\\ ', max_size=60)
    )
)
def test_any_rubbish_is_a_message_or_malformed(data: str | bytes) -> None:
    try:
        assert isinstance(read(data, pb.TxnRequest), pb.TxnRequest)
    except MalformedJson:
        pass


BODY = b' {"a":"}\\"{"} \n{"b":[{"c":"\\\\"}]}{}{"d":{"e":[1,2]}}\t'
VALUES = [b'{"a":"}\\"{"}', b'{"b":[{"c":"\\\\"}]}', b"{}", b'{"d":{"e":[1,2]}}']


@settings(derandomize=True, max_examples=200, deadline=None)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=8))
def test_a_body_is_cut_alike_however_it_comes(cuts: list[int]) -> None:
    splitter = Splitter(1000)
    places = [0, *sorted(cuts), len(BODY)]
    found = []
    for start, end in pairwise(places):
        found += splitter.feed(BODY[start:end])
    assert found == VALUES
    assert not list(splitter.feed(b""))
    assert splitter.is_between


def test_a_body_that_is_no_objects() -> None:
    for body in (b"x", b"{} 7", b"[]", b"{}}"):
        with pytest.raises(MalformedJson, match="looking for beginning of value"):
            list(Splitter(100).feed(body))
    values = Splitter(100).feed(b"{}x")
    assert next(values) == b"{}"
    with pytest.raises(MalformedJson):
        next(values)
    splitter = Splitter(10)
    assert list(splitter.feed(b'{"aaaa":')) == []
    assert not splitter.is_between
    with pytest.raises(MalformedJson, match="larger than max 10"):
        list(splitter.feed(b'"bbbb'))
