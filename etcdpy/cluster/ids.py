"""The numbers by which members and clusters are known: hashes of what was configured, equal wherever
computed.

Every founding member derives the same ids on its own from `--initial-cluster` and the token, which is why
no vote is needed to name anybody. A member added later takes the second of the call into its hash too, so
that a machine which was removed can come back under another id: an id that was removed never returns.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ID_MAX = 2**64 - 1


def member_id(peer_urls: Iterable[str], token: str = "", added_at: int | None = None) -> int:
    """The id of the member at `peer_urls`; `added_at` (unix seconds) for one added to a running cluster.

    Such a member is hashed without the cluster's token.
    """
    text = "".join(sorted(peer_urls)) + token
    if added_at is not None:
        text += str(added_at)
    return _first_eight_bytes(text.encode())


def cluster_id(member_ids: Iterable[int]) -> int:
    """The id of the cluster that these members founded. Members who come or go later do not change it."""
    return _first_eight_bytes(b"".join(identity.to_bytes(8, "big") for identity in sorted(member_ids)))


def format_id(identity: int) -> str:
    """Lower-case hex without leading zeros, as in paths, headers, bucket keys and logs."""
    assert 0 <= identity <= ID_MAX, f"id {identity} is not 64 bits"
    return format(identity, "x")


def parse_id(text: str) -> int:
    """The id written as `text`; ValueError for what `format_id` of no 64-bit number could give."""
    if not text or len(text) > 16 or not all(character in "0123456789abcdefABCDEF" for character in text):
        raise ValueError(f'"{text}" is not an id')
    return int(text, 16)


def _first_eight_bytes(data: bytes) -> int:
    # SHA-1 names things here, it protects nothing.
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:8], "big")
