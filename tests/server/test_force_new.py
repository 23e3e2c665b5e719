"""`--force-new-cluster`: what of the log is kept, and who is removed."""

from __future__ import annotations

from etcdpy.cluster.members import ChangeContext, Member, encode_context
from etcdpy.cluster.membership import Membership
from etcdpy.proto.raft_pb2 import Entry as WireEntry
from etcdpy.proto.raft_pb2 import HardState as WireHardState
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.messages import ConfChange, ConfChangeType, EntryType
from etcdpy.server.force_new import take_over
from tests.support.buckets import MemoryBuckets

TERM = 4


def add(identity: int) -> ConfChange:
    member = Member(identity, (f"http://127.0.0.1:{identity}",))
    return ConfChange(ConfChangeType.ADD_NODE, identity, encode_context(ChangeContext(member)))


def membership_of(*identities: int) -> Membership:
    membership = Membership(MemoryBuckets())
    for identity in identities:
        membership.apply(add(identity))
    return membership


def normal(index: int) -> WireEntry:
    return WireEntry(Term=TERM, Index=index, Type=EntryType.NORMAL, Data=b"acknowledged")


def changing(index: int, change: ConfChange) -> WireEntry:
    data = raft_codec.encode_conf_change(change)
    return WireEntry(Term=TERM, Index=index, Type=EntryType.CONF_CHANGE, Data=data)


def test_entries_behind_the_saved_commit_index_are_kept() -> None:
    """A client may have their acknowledgement: the commit index reaches the disk with the next save only."""
    hard_state = WireHardState(term=TERM, vote=2, commit=5)
    log = [normal(5), normal(6), normal(7)]
    entries, after = take_over(1, [], membership_of(1, 2, 3), 5, hard_state, log, 7)
    assert [(entry.term, entry.index) for entry in entries] == [(TERM, 8), (TERM, 9)]
    removed = [raft_codec.decode_conf_change(entry.data) for entry in entries]
    assert [(change.type, change.node_id) for change in removed] == [
        (ConfChangeType.REMOVE_NODE, 2),
        (ConfChangeType.REMOVE_NODE, 3),
    ]
    assert (after.term, after.vote, after.commit) == (TERM, 2, 9)


def test_members_that_only_the_kept_entries_know_are_removed_too() -> None:
    hard_state = WireHardState(term=TERM, vote=1, commit=5)
    log = [
        changing(6, ConfChange(ConfChangeType.REMOVE_NODE, 2)),
        changing(7, add(9)),
    ]
    entries, after = take_over(1, [], membership_of(1, 2), 5, hard_state, log, 7)
    removed = [raft_codec.decode_conf_change(entry.data) for entry in entries]
    assert [(change.type, change.node_id) for change in removed] == [(ConfChangeType.REMOVE_NODE, 9)]
    assert after.commit == 8
