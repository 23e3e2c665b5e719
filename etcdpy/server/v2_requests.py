"""What members of 3.5 and older still write into the log as requests of the v2 store: their attributes, and
the cluster version.

Such an entry is a bare `etcdserverpb.Request`; it cannot be taken for an `InternalRaftRequest`, because its
second field is a word (`PUT`) where the other has a message. Both requests mean the same as a request of
ours, and are turned into it (peer protocol reference, section 12.2). Any other v2 request changes nothing
that we keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from etcdpy.cluster.v2 import MalformedStore, PublishedAttributes, decode_request
from etcdpy.proto.etcdserver_pb2 import Request
from etcdpy.proto.membership_pb2 import ClusterMemberAttrSetRequest, ClusterVersionSetRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message


def convert(data: bytes) -> tuple[str, Message] | None:
    """(kind, request) of the entry that would say the same today; None when it says nothing to us.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no v2 request either.
    """
    request = Request.FromString(data)
    if not request.Method:
        raise DecodeError("neither a request of v3 nor one of v2")
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
