"""Versions of members and of the cluster, and what the leader proposes when they differ.

The cluster version is what every member can do: the lowest `major.minor` among them. It gates features, so
it only rises when all members are known to be new enough, and only falls by one minor version in a
downgrade that was asked for. A member that cannot be asked makes the answer unknown, and then nothing
changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORM = re.compile(
    r"(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]*)?"
)


class BadVersion(ValueError):
    """Text that is no semantic version."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A semantic version; one with a pre-release tag comes before the release itself."""

    major: int
    minor: int
    patch: int = 0
    pre: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        match = _FORM.fullmatch(text)
        if match is None:
            raise BadVersion(f'"{text}" is not in dotted-tri format')
        major, minor, patch, pre = match.groups()
        return cls(int(major), int(minor), int(patch), pre or "")

    def __str__(self) -> str:
        release = f"{self.major}.{self.minor}.{self.patch}"
        return f"{release}-{self.pre}" if self.pre else release

    def __lt__(self, other: Version) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[int, int, int, bool, list[tuple[bool, int, str]]]:
        # Numbers before words, and numbers by value: section 11 of the Semantic Versioning text.
        parts = [
            (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.pre.split(".")
        ]
        return self.major, self.minor, self.patch, not self.pre, parts if self.pre else []

    @property
    def cluster_form(self) -> Version:
        """`major.minor.0`: cluster versions have no patch."""
        return Version(self.major, self.minor)

    @property
    def one_lower(self) -> Version | None:
        """The only version one may downgrade to; none below a `.0`."""
        return Version(self.major, self.minor - 1) if self.minor else None

    @property
    def short(self) -> str:
        """`major.minor`, as clients are told."""
        return f"{self.major}.{self.minor}"


# What a cluster is before its members are known: every 3.x member can do that much.
MIN_CLUSTER_VERSION = Version(3, 0)


def minimum_version(versions: Iterable[Version | None]) -> Version | None:
    """The lowest of the members' versions in cluster form; None if any of them is not known."""
    lowest: Version | None = None
    for version in versions:
        if version is None:
            return None
        if lowest is None or version.cluster_form < lowest:
            lowest = version.cluster_form
    return lowest


def decide_cluster_version(
    current: Version | None, minimum: Version | None, downgrade_to: Version | None = None
) -> Version | None:
    """What the leader should propose, given `minimum_version` of all members; None to leave it as it is."""
    if current is None:
        return minimum or MIN_CLUSTER_VERSION
    current = current.cluster_form
    if minimum is None:
        return None
    if downgrade_to is not None:
        target = downgrade_to.cluster_form
        allowed = target == current.one_lower and target == minimum.one_lower
        return target if allowed else None
    return minimum if minimum > current and minimum.major == current.major else None


def is_too_old(server: Version, cluster: Version | None) -> bool:
    """Whether this server must stop: the cluster has moved on to what it cannot do."""
    return cluster is not None and server.cluster_form < cluster.cluster_form
