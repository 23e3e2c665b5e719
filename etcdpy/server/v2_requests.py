"""Entries that are requests of the v2 store: clients' writes to it, and what members of 3.5 and older write
about themselves: their attributes, and the cluster version.

Such an entry is a bare `etcdserverpb.Request`. It is told from an `InternalRaftRequest` by its second
field: a word (`PUT`) where the other has a message, though some words could be read as one. The two about
members mean the same as a request of ours, and are turned into it (peer protocol reference, section 12.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from etcdpy.cluster.v2 import MalformedStore, PublishedAttributes, decode_request
from etcdpy.proto.etcdserver_pb2 import Request
from etcdpy.proto.membership_pb2 import ClusterMemberAttrSetRequest, ClusterVersionSetRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message


METHODS = frozenset({"PUT", "POST", "DELETE", "QGET", "SYNC", "GET"})
# What the applier calls requests that are the store's own.
KIND = "v2"
MEMBERSHIP = "/0"
_ID_TAG = 0x08


def encode(request: Request) -> bytes:
    """The entry data of a request, which must have its id."""
    assert request.ID, "a v2 request without id"
    return request.SerializeToString(deterministic=True)


def parse(data: bytes) -> Request | None:
    """The v2 request that an entry is, None if it is none."""
    if not data or data[0] != _ID_TAG:
        return None  # as all requests of v3 are, which do not use that field
    try:
        request = Request.FromString(data)
    except DecodeError:
        return None
    return request if request.Method in METHODS else None


def convert(request: Request) -> tuple[str, Message] | None:
    """(kind, request) for the applier; None when it says nothing to us."""
    if not request.Path.startswith(MEMBERSHIP):
        return KIND, request
    try:
        meaning = decode_request(request.Method, request.Path, request.Val)
    except MalformedStore:
        return None
    if isinstance(meaning, PublishedAttributes):
        attributes = ClusterMemberAttrSetRequest(member_ID=meaning.member_id)
        attributes.member_attributes.name = meaning.name
        attributes.member_attributes.client_urls.extend(meaning.client_urls)
        return "cluster_member_attr_set", attributes
    return "cluster_version_set", ClusterVersionSetRequest(ver=str(meaning))
