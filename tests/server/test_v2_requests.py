"""Entries that members of 3.5 and older write as v2 requests."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError

from etcdpy.auth import NOBODY
from etcdpy.proto.etcdserver_pb2 import Request
from etcdpy.proto.membership_pb2 import ClusterMemberAttrSetRequest, ClusterVersionSetRequest
from etcdpy.server.member import decode_entry
from etcdpy.server.requests import encode_request


def go_request(method: str, path: str, value: str) -> bytes:
    """As Go writes it: every field that cannot be null, also when it is zero."""
    return Request(
        ID=7,
        Method=method,
        Path=path,
        Val=value,
        Dir=False,
        PrevValue="",
        PrevIndex=0,
        Expiration=0,
        Wait=False,
        Since=0,
        Recursive=False,
        Sorted=False,
        Quorum=False,
        Time=0,
        Stream=False,
    ).SerializeToString()


def test_published_attributes() -> None:
    data = go_request(
        "PUT", "/0/members/d176c32e71db7b1/attributes", '{"name":"a","clientURLs":["http://b:1"]}'
    )
    decoded = decode_entry(data)
    assert decoded is not None
    kind, request, _ = decoded
    assert kind == "cluster_member_attr_set"
    assert isinstance(request, ClusterMemberAttrSetRequest)
    assert request.member_ID == 0xD176C32E71DB7B1
    assert request.member_attributes.name == "a"
    assert list(request.member_attributes.client_urls) == ["http://b:1"]


def test_the_cluster_version() -> None:
    assert decode_entry(go_request("PUT", "/0/version", "3.5.0")) == (
        "cluster_version_set",
        ClusterVersionSetRequest(ver="3.5.0"),
        NOBODY,
    )


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("DELETE", "/0/version", ""),
        ("PUT", "/0/version", "not a version"),
        ("PUT", "/0/members/xyz/attributes", "{}"),
        ("PUT", "/0/members/1/attributes", "no json"),
    ],
)
def test_any_other_request_about_members_means_nothing(method: str, path: str, value: str) -> None:
    assert decode_entry(go_request(method, path, value)) is None


@pytest.mark.parametrize(("method", "path", "value"), [("SYNC", "", ""), ("PUT", "/1/foo", "bar")])
def test_all_else_is_for_the_v2_store(method: str, path: str, value: str) -> None:
    decoded = decode_entry(go_request(method, path, value))
    assert decoded is not None
    kind, request, _ = decoded
    assert kind == "v2"
    assert isinstance(request, Request)
    assert (request.Method, request.Path, request.Val) == (method, path, value)


def test_requests_of_today_are_not_taken_for_old_ones() -> None:
    version = ClusterVersionSetRequest(ver="3.6.0")
    data = encode_request("cluster_version_set", version.SerializeToString(), 1)
    assert decode_entry(data) == ("cluster_version_set", version, NOBODY)


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_entry(b"\xff\xff\xff")
