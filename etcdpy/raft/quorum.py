"""The arithmetic of majorities, knowing nothing of logs, terms or messages.

A configuration is one set of voters, or two during a joint change; then whatever needs agreement needs it in
both halves (thesis 4.3). An empty set agrees to everything, so that the second half of a configuration that
is not joint never stands in the way.
"""

from collections.abc import Callable, Collection, Mapping
from enum import IntEnum

UNBOUNDED = 1 << 64
"""The commit index an empty set of voters allows: no limit."""


class VoteResult(IntEnum):
    """How a vote stands: undecided, can no longer be won, won."""

    PENDING = 0
    LOST = 1
    WON = 2


def majority_size(voters: int) -> int:
    return voters // 2 + 1


def majority_index(voters: Collection[int], match_of: Callable[[int], int]) -> int:
    """The largest index that a majority of `voters` has."""
    count = len(voters)
    if count == 0:
        return UNBOUNDED
    if count == 1:
        return match_of(next(iter(voters)))
    return sorted(map(match_of, voters))[count - majority_size(count)]


def joint_index(incoming: Collection[int], outgoing: Collection[int], match_of: Callable[[int], int]) -> int:
    """The largest index that both halves have by majority."""
    index = majority_index(incoming, match_of)
    return min(index, majority_index(outgoing, match_of)) if outgoing else index


def majority_vote(voters: Collection[int], votes: Mapping[int, bool]) -> VoteResult:
    needed = majority_size(len(voters)) if voters else 0
    granted = sum(1 for voter in voters if votes.get(voter, False))
    if granted >= needed:
        return VoteResult.WON
    missing = sum(1 for voter in voters if voter not in votes)
    return VoteResult.PENDING if granted + missing >= needed else VoteResult.LOST


def joint_vote(incoming: Collection[int], outgoing: Collection[int], votes: Mapping[int, bool]) -> VoteResult:
    """Won when both halves are won, lost when either is lost."""
    results = (majority_vote(incoming, votes), majority_vote(outgoing, votes))
    if VoteResult.LOST in results:
        return VoteResult.LOST
    return VoteResult.PENDING if VoteResult.PENDING in results else VoteResult.WON
