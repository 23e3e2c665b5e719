"""May this peer talk to us? The check that every `/raft` request passes before anything else is looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from etcdpy.peer.errors import Refused
from etcdpy.proto.version import ETCD_VERSION, MIN_CLUSTER_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER_FROM = "X-Server-From"
SERVER_VERSION = "X-Server-Version"
MIN_VERSION = "X-Min-Cluster-Version"
CLUSTER_ID = "X-Etcd-Cluster-ID"
PEER_URLS = "X-PeerURLs"
RAFT_TO = "X-Raft-To"

# What Go takes for a version that is not there; a peer that sends none is refused.
_ABSENT = "2.0.0"
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?$")

# Releases that have both kinds of stream, from where on we may dial them.
OLDEST_STREAM_VERSION = (2, 1)


def major_minor(version: str) -> tuple[int, int] | None:
    """(major, minor) of `MAJOR.MINOR.PATCH[-pre]`, None when it is no version."""
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2])) if match else None


def check_request(headers: Mapping[str, str], cluster_id: int) -> None:
    """Compare versions, then the cluster id.

    Raises:
        Refused: 412 with etcd's text.
    """
    sender = major_minor(headers.get(SERVER_VERSION, _ABSENT))
    sender_minimum = major_minor(headers.get(MIN_VERSION, _ABSENT))
    local = major_minor(ETCD_VERSION)
    minimum = major_minor(MIN_CLUSTER_VERSION)
    assert local is not None, ETCD_VERSION
    assert minimum is not None, MIN_CLUSTER_VERSION
    if sender is None or sender_minimum is None or sender < minimum or sender_minimum > local:
        raise Refused(412, "incompatible version")
    if headers.get(CLUSTER_ID, "").lower() != f"{cluster_id:x}":
        raise Refused(412, "cluster ID mismatch")


def request_headers(member_id: int, cluster_id: int, peer_urls: list[str]) -> dict[str, str]:
    """What we send with every `/raft` request."""
    return {
        SERVER_FROM: f"{member_id:x}",
        SERVER_VERSION: ETCD_VERSION,
        MIN_VERSION: MIN_CLUSTER_VERSION,
        CLUSTER_ID: f"{cluster_id:x}",
        PEER_URLS: ",".join(peer_urls),
    }


def parse_id(text: str) -> int | None:
    """A member id in the form of headers and paths, None when it is none."""
    if not re.fullmatch(r"[0-9a-fA-F]{1,16}", text):
        return None
    return int(text, 16)
