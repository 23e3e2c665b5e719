"""Conditions of a transaction.

>>> from etcdpy.client import compare
>>> compare.version("key", ">", 2)
Compare(version of b'key' > 2)
"""

from __future__ import annotations

from typing import Any, Final, Literal

from etcdpy.client.keys import Keys, as_bytes, bounds
from etcdpy.proto import rpc_pb2 as pb

Relation = Literal["==", "!=", "<", ">"]
_RELATIONS: Final[dict[Relation, pb.Compare.CompareResult]] = {
    "==": pb.Compare.EQUAL,
    "!=": pb.Compare.NOT_EQUAL,
    "<": pb.Compare.LESS,
    ">": pb.Compare.GREATER,
}


class Compare:
    """One condition; made by the functions of this module."""

    __slots__ = ("_text", "message")

    def __init__(
        self, keys: Keys, target: pb.Compare.CompareTarget, name: str, relation: Relation, wanted: int | bytes
    ) -> None:
        key, range_end = bounds(keys)
        fields: dict[str, Any] = {name: wanted}
        self.message = pb.Compare(
            key=key, range_end=range_end, target=target, result=_RELATIONS[relation], **fields
        )
        self._text = f"{name} of {key!r}{f' to {range_end!r}' if range_end else ''} {relation} {wanted!r}"

    def __repr__(self) -> str:
        return f"Compare({self._text})"


def value(keys: Keys, relation: Relation, wanted: str | bytes) -> Compare:
    """The value of the key; of each key, for a range. Never true of a key that is not there."""
    return Compare(keys, pb.Compare.VALUE, "value", relation, as_bytes(wanted))


def version(keys: Keys, relation: Relation, wanted: int) -> Compare:
    """How often the key was written since it was created; 0 of a key that is not there."""
    return Compare(keys, pb.Compare.VERSION, "version", relation, wanted)


def create_revision(keys: Keys, relation: Relation, wanted: int) -> Compare:
    """When the key was created; 0 of a key that is not there."""
    return Compare(keys, pb.Compare.CREATE, "create_revision", relation, wanted)


def mod_revision(keys: Keys, relation: Relation, wanted: int) -> Compare:
    """When the key was last written; 0 of a key that is not there."""
    return Compare(keys, pb.Compare.MOD, "mod_revision", relation, wanted)


def lease(keys: Keys, relation: Relation, wanted: int) -> Compare:
    """The id of the lease that the key is attached to; 0 for none."""
    return Compare(keys, pb.Compare.LEASE, "lease", relation, wanted)


def exists(keys: Keys) -> Compare:
    """The key is there."""
    return create_revision(keys, ">", 0)


def missing(keys: Keys) -> Compare:
    """The key is not there."""
    return create_revision(keys, "==", 0)
