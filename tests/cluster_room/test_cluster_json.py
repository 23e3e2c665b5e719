"""Members as JSON: the bytes Go writes, and what is done with bytes that nobody should have written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.cluster.members import (
    ChangeContext,
    MalformedMember,
    Member,
    decode_context,
    decode_member,
    decode_members,
    encode_context,
    encode_member,
    encode_members,
)
from etcdpy.cluster.v2 import (
    ClusterState,
    MalformedStore,
    PublishedAttributes,
    decode_request,
    dump_store,
    encode_attributes_request,
    encode_version_request,
    load_store,
)
from etcdpy.cluster.version import Version

some = settings(derandomize=True, deadline=None, max_examples=200)
ids = st.integers(min_value=1, max_value=2**64 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
lists = st.lists(texts, max_size=3).map(tuple)
members = st.builds(Member, ids, lists, texts, lists, st.booleans())
BIG = 2**64 - 1


def test_the_bytes_of_a_member() -> None:
    member = Member(BIG, ("http://a:1",), "<é&>", ("http://b:2",), True)
    assert (
        encode_member(member)
        == (
            f'{{"id":{BIG},"peerURLs":["http://a:1"],"isLearner":true,'
            '"name":"\\u003cé\\u0026\\u003e","clientURLs":["http://b:2"]}'
        ).encode()
    )
    assert encode_member(Member(1, ("http://a:1",))) == b'{"id":1,"peerURLs":["http://a:1"]}'


def test_the_bytes_of_contexts() -> None:
    promote = ChangeContext(Member(7), is_promote=True)
    assert encode_context(promote) == b'{"id":7,"peerURLs":null,"isPromote":true}'
    assert decode_context(encode_context(promote)) == promote
    # 3.4 and 3.5 always write the last key.
    told = b'{"id":7,"peerURLs":["http://a:1"],"name":"a","isPromote":false}'
    assert decode_context(told) == ChangeContext(Member(7, ("http://a:1",), "a"))


def test_null_is_nothing() -> None:
    told = b'{"id":7,"peerURLs":null,"isLearner":null,"name":null,"clientURLs":null,"isPromote":null}'
    assert decode_context(told) == ChangeContext(Member(7))


def test_the_array_of_members_is_sorted() -> None:
    encoded = encode_members([Member(2, ("http://b:1",)), Member(1, ("http://a:1",))])
    assert encoded == b'[{"id":1,"peerURLs":["http://a:1"]},{"id":2,"peerURLs":["http://b:1"]}]'
    assert [member.id for member in decode_members(encoded + b"\n")] == [1, 2]


@some
@given(members)
def test_members_are_read_back(member: Member) -> None:
    assert decode_member(encode_member(member)) == member
    assert decode_context(encode_context(ChangeContext(member))) == ChangeContext(member)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"id":"1"}',
        b'{"id":-1}',
        b'{"id":18446744073709551616}',
        b'{"id":true}',
        b'{"id":1.0}',
        b'{"id":1,"peerURLs":"x"}',
        b'{"id":1,"peerURLs":[1]}',
        b'{"id":1,"isLearner":1}',
        b'{"id":1,"name":5}',
        b'{"id":1,"clientURLs":{}}',
    ],
)
def test_malformed_members(data: bytes) -> None:
    for decode in (decode_member, decode_context, decode_members):
        with pytest.raises(MalformedMember):
            decode(data)


@some
@given(st.binary())
def test_garbage_is_refused(data: bytes) -> None:
    for decode, fault in ((decode_context, MalformedMember), (load_store, MalformedStore)):
        with pytest.raises(fault):
            decode(data)


@some
@given(
    st.dictionaries(ids, members, max_size=4).map(
        lambda found: {identity: Member(identity, *member_rest(member)) for identity, member in found.items()}
    ),
    st.frozensets(ids, max_size=3),
    st.none() | st.builds(Version, st.just(3), st.integers(0, 9)),
)
def test_stores_are_read_back(
    found: dict[int, Member], removed: frozenset[int], version: Version | None
) -> None:
    state = ClusterState(found, removed, version)
    assert load_store(dump_store(state)) == state


def member_rest(member: Member) -> tuple[tuple[str, ...], str, tuple[str, ...], bool]:
    return member.peer_urls, member.name, member.client_urls, member.is_learner


def test_the_form_of_a_store() -> None:
    state = ClusterState(
        {0xAB: Member(0xAB, ("http://a:1",), "a", ("http://a:2",))}, frozenset({1}), Version(3, 6)
    )
    tree = json.loads(dump_store(state))
    assert (tree["CurrentIndex"], tree["CurrentVersion"]) == (1, 2)
    cluster = tree["Root"]["Children"]["0"]["Children"]
    assert list(cluster) == ["members", "removed_members", "version"]
    leaves = cluster["members"]["Children"]["ab"]["Children"]
    assert leaves["raftAttributes"]["Value"] == '{"peerURLs":["http://a:1"]}'
    assert leaves["attributes"]["Value"] == '{"name":"a","clientURLs":["http://a:2"]}'
    assert leaves["attributes"]["Path"] == "/0/members/ab/attributes"
    assert leaves["attributes"]["Children"] is None
    assert cluster["removed_members"]["Children"]["1"]["Value"] == ""
    assert cluster["version"]["Value"] == "3.6.0"
    assert tree["Root"]["Children"]["1"]["Children"] == {}


@pytest.mark.parametrize(
    "store",
    [
        {},
        {"Root": 1},
        {"Root": {"Children": {"0": {"Children": {"members": {"Children": {"zz": {}}}}}}}},
        {"Root": {"Children": {"0": {"Children": {"members": {"Children": {"1": {}}}}}}}},
        {"Root": {"Children": {"0": {"Children": {"version": {"Value": "3"}}}}}},
        {"Root": {"Children": {"0": {"Children": {"version": {}}}}}},
    ],
)
def test_malformed_stores(store: object) -> None:
    with pytest.raises(MalformedStore):
        load_store(json.dumps(store).encode())


def test_requests_of_the_v2_store() -> None:
    published = PublishedAttributes(0x8E9E, "q", ("http://127.0.0.1:1",))
    method, path, value = encode_attributes_request(published)
    assert (method, path) == ("PUT", "/0/members/8e9e/attributes")
    assert value == '{"name":"q","clientURLs":["http://127.0.0.1:1"]}'
    assert decode_request(method, path, value) == published
    assert decode_request(*encode_version_request(Version(3, 5))) == Version(3, 5)
    assert decode_request("PUT", "/0/members/1/attributes", "{}") == PublishedAttributes(1, "", ())


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("DELETE", "/0/version", ""),
        ("PUT", "/0/version", "x"),
        ("PUT", "/1/foo", "bar"),
        ("PUT", "/0/members/zz/attributes", "{}"),
        ("PUT", "/0/members/1/attributes", "x"),
        ("PUT", "/0/members/1/raftAttributes", "{}"),
    ],
)
def test_requests_without_a_meaning(method: str, path: str, value: str) -> None:
    with pytest.raises(MalformedStore):
        decode_request(method, path, value)
