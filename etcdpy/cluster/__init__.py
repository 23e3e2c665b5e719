"""Who the cluster is: its members and their URLs, the ids made from them, its version, and how these
change.
"""

from etcdpy.cluster.ids import cluster_id, format_id, member_id, parse_id
from etcdpy.cluster.members import MalformedMember, Member
from etcdpy.cluster.urls import BadUrl, Url
from etcdpy.cluster.version import BadVersion, Version

__all__ = [
    "BadUrl",
    "BadVersion",
    "MalformedMember",
    "Member",
    "Url",
    "Version",
    "cluster_id",
    "format_id",
    "member_id",
    "parse_id",
]
