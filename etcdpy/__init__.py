"""etcdpy: an etcd-compatible Raft key-value server in Python.

The rooms of the package and who may import whom are told in `docs/design.md`; `etcdpy.embed` is
where they are joined into a running member.
"""

from etcdpy.proto.version import __version__

__all__ = ["__version__"]
