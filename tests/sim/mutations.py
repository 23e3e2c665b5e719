"""Bugs that a raft server may have, put into ours one at a time to see whether the simulator finds them.

Each is a way to patch the running code; the text says what a programmer would have got wrong. By hand:
`python -m tests.sim.mutations` tells after how many seeds each was caught.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from etcdpy.mvcc.watch import WatchHub
from etcdpy.raft import election, leader, replication
from etcdpy.raft.log import Log
from etcdpy.raft.messages import EntryType, HardState, Message, MessageType, ReadState, Role
from etcdpy.raft.raw_node import RawNode
from etcdpy.server.member import Member
from etcdpy.server.read import ReadQueue
from etcdpy.testing.backend import MemoryBackend
from etcdpy.testing.simulator import Failed, Simulator
from etcdpy.wal import Log as WalLog

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS_MAX = 200
TURNS = 10_000


def vote_twice() -> Any:
    """A vote is given and forgotten."""
    original = election.handle_vote_request

    def handle(core: Any, message: Message) -> None:
        original(core, message)
        if core.vote == message.from_:
            core.vote = 0

    return patch.object(election, "handle_vote_request", handle)


def commit_old_term_by_counting() -> Any:
    """Entries of earlier terms are committed as soon as a quorum has them (figure 8 of the paper)."""

    def maybe_commit(core: Any) -> bool:
        index = core.membership.committed_index()
        if index <= core.log.committed:
            return False
        core.log.commit_to(index)
        return True

    return patch.object(leader, "_maybe_commit", maybe_commit)


def send_before_save() -> Any:
    """A follower's answers leave beside its save, like a leader's messages."""
    return patch.object(Member, "role", property(lambda self: Role.LEADER))


def skip_term_check() -> Any:
    """An append is taken if its place exists, whatever the term there."""
    original = Log.maybe_append

    def maybe_append(self: Any, prev_index: int, prev_term: int, entries: Any) -> bool:
        known = self.term_at(prev_index)
        return original(self, prev_index, prev_term if known is None else known, entries)

    return patch.object(Log, "maybe_append", maybe_append)


def keep_conflicting_tail() -> Any:
    """Entries that are there already are never replaced."""

    def maybe_append(self: Any, prev_index: int, prev_term: int, entries: Any) -> bool:
        if self.term_at(prev_index) != prev_term:
            return False
        self.append([entry for entry in entries if entry.index > self.last_index])
        return True

    return patch.object(Log, "maybe_append", maybe_append)


def forget_hard_state() -> Any:
    """A member starts with its log, but without its term and vote."""
    original = RawNode.__init__

    def start(self: Any, *arguments: Any, **options: Any) -> None:
        options["hard_state"] = HardState(0, 0, options["hard_state"].commit)
        original(self, *arguments, **options)

    return patch.object(RawNode, "__init__", start)


def read_without_quorum() -> Any:
    """A leader answers reads because it believes that it leads."""

    def confirm(core: Any, request: Message) -> None:
        context = request.entries[0].data
        if request.from_ in (0, core.id):
            core.read_states.append(ReadState(core.log.committed, context))
        else:
            core.send(
                Message(
                    MessageType.READ_INDEX_RESP,
                    to=request.from_,
                    index=core.log.committed,
                    entries=request.entries,
                )
            )

    return patch.object(leader, "_confirm_read", confirm)


def read_before_applied() -> Any:
    """A confirmed read does not wait until its index has been applied."""
    original = ReadQueue.release
    return patch.object(ReadQueue, "release", lambda self, applied: original(self, 1 << 62))


def apply_out_of_order() -> Any:
    """Two requests that were committed together change places."""
    original = Member.apply

    def apply(self: Any, ready: Any) -> None:
        entries = ready.committed_entries
        pair = entries[-2:]
        if len(pair) == 2 and all(entry.type is EntryType.NORMAL and entry.data for entry in pair):
            first, second = pair
            swapped = [replace(first, data=second.data), replace(second, data=first.data)]
            original(self, replace(ready, committed_entries=[*entries[:-2], *swapped]))
        else:
            original(self, ready)

    return patch.object(Member, "apply", apply)


def apply_twice() -> Any:
    """What a member that does not lead has applied, it applies once more at the end of its batch."""
    original = Member._apply_entry

    def apply(self: Any, entry: Any) -> None:
        original(self, entry)
        if entry.index % 16 == 0 and entry.type is EntryType.NORMAL and entry.data and not self.is_leader:
            self._apply_request(entry.data)

    return patch.object(Member, "_apply_entry", apply)


def lose_consistent_index() -> Any:
    """A flush does not say which entries it covers."""
    return patch.object(MemoryBackend, "set_consistent", lambda self, index, term: None)


def elect_shorter_log() -> Any:
    """Votes are given without a look at the candidate's log."""
    return patch.object(Log, "is_up_to_date", lambda self, last_index, last_term: True)


def never_sync() -> Any:
    """The log is written and not synced."""
    return patch.object(WalLog, "sync", lambda self: None)


def heartbeat_commits_all() -> Any:
    """A heartbeat carries the leader's commit index, though the follower's log may not agree so far."""

    def broadcast(core: Any, context: bytes) -> None:
        for id_ in core.membership.progress_by_id:
            if id_ != core.id:
                core.send(Message(MessageType.HEARTBEAT, to=id_, commit=core.log.committed, context=context))

    return patch.object(replication, "broadcast_heartbeat", broadcast)


def forget_slow_watchers() -> Any:
    """A watcher that had no room for an event goes on with the next one."""
    return patch.object(WatchHub, "_join_victims", lambda self, watcher: self._join_synced(watcher))


MUTATIONS: dict[str, Callable[[], Any]] = {
    mutation.__name__: mutation
    for mutation in (
        vote_twice,
        commit_old_term_by_counting,
        send_before_save,
        skip_term_check,
        keep_conflicting_tail,
        forget_hard_state,
        read_without_quorum,
        read_before_applied,
        apply_out_of_order,
        apply_twice,
        lose_consistent_index,
        elect_shorter_log,
        never_sync,
        heartbeat_commits_all,
        forget_slow_watchers,
    )
}


def seeds_until_caught(name: str, seeds_max: int = SEEDS_MAX, turns: int = TURNS) -> tuple[int, str]:
    """How many seeds it took, and what was noticed; 0 if it was not."""
    with ExitStack() as stack:
        stack.enter_context(MUTATIONS[name]())
        for seed in range(1, seeds_max + 1):
            try:
                Simulator(seed, 3 if seed % 2 else 5).run(turns)
            except Failed as failed:
                return seed, f"{type(failed.cause).__name__} in turn {failed.turn}: {failed.cause}"
    return 0, ""


def main(names: list[str]) -> int:
    """Exit status 1 if one escaped."""
    escaped = 0
    for name in names or MUTATIONS:
        seeds, noticed = seeds_until_caught(name)
        escaped += not seeds
        sys.stdout.write(f"{name:28} {f'{seeds:3} seeds' if seeds else 'ESCAPED  '}  {noticed[:120]}\n")
        sys.stdout.flush()
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
