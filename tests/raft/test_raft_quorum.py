"""The arithmetic of majorities against definitions too slow and plain to be wrong."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.raft.quorum import UNBOUNDED, VoteResult, joint_index, joint_vote, majority_index, majority_vote

IDS = st.sets(st.integers(1, 9), max_size=7)
MATCHES = st.fixed_dictionaries({id_: st.integers(0, 6) for id_ in range(1, 10)})
VOTES = st.dictionaries(st.integers(1, 9), st.booleans())
thorough = settings(derandomize=True, max_examples=200, deadline=None)


def plain_index(voters: set[int], match: dict[int, int]) -> int:
    """Try every index from the top: is it on more than half?"""
    if not voters:
        return UNBOUNDED
    return max(index for index in range(8) if 2 * sum(match[id_] >= index for id_ in voters) > len(voters))


def plain_vote(voters: set[int], votes: dict[int, bool]) -> VoteResult:
    """Look at every way the missing votes may still fall."""
    missing = [id_ for id_ in voters if id_ not in votes]
    outcomes = set()
    for ballot in range(1 << len(missing)):
        full = dict(votes)
        full.update({id_: bool(ballot >> position & 1) for position, id_ in enumerate(missing)})
        outcomes.add(not voters or 2 * sum(full[id_] for id_ in voters) > len(voters))
    if len(outcomes) == 2:
        return VoteResult.PENDING
    return VoteResult.WON if outcomes == {True} else VoteResult.LOST


@thorough
@given(IDS, MATCHES)
def test_majority_index_is_the_largest_index_on_more_than_half(
    voters: set[int], match: dict[int, int]
) -> None:
    assert majority_index(voters, match.__getitem__) == plain_index(voters, match)


@thorough
@given(IDS, IDS, MATCHES)
def test_joint_index_is_the_lesser_of_both_halves(
    incoming: set[int], outgoing: set[int], match: dict[int, int]
) -> None:
    expected = min(plain_index(incoming, match), plain_index(outgoing, match))
    assert joint_index(incoming, outgoing, match.__getitem__) == expected


@thorough
@given(IDS, VOTES)
def test_a_vote_is_decided_when_no_missing_vote_can_change_it(
    voters: set[int], votes: dict[int, bool]
) -> None:
    assert majority_vote(voters, votes) is plain_vote(voters, votes)


@thorough
@given(IDS, IDS, VOTES)
def test_a_joint_vote_is_won_in_both_halves_and_lost_in_either(
    incoming: set[int], outgoing: set[int], votes: dict[int, bool]
) -> None:
    results = {plain_vote(incoming, votes), plain_vote(outgoing, votes)}
    expected = VoteResult.PENDING
    if results == {VoteResult.WON}:
        expected = VoteResult.WON
    elif VoteResult.LOST in results:
        expected = VoteResult.LOST
    assert joint_vote(incoming, outgoing, votes) is expected


@thorough
@given(IDS, MATCHES)
def test_two_majorities_always_share_a_voter(voters: set[int], match: dict[int, int]) -> None:
    index = majority_index(voters, match.__getitem__)
    holders = {id_ for id_ in voters if match[id_] >= index}
    others = voters - holders
    assert not voters or len(others) < len(holders)
