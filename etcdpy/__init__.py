"""etcdpy: an etcd-compatible Raft key-value server in Python.

The rooms of the package and who may import whom are told in `docs/design.md`; `etcdpy.embed` is
where they are joined into a running member.
"""

from etcdpy.flavour import prefer_sources, wants_sources
from etcdpy.proto.version import __version__

if wants_sources():
    prefer_sources(__path__[0])

__all__ = ["__version__"]
