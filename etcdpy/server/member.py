"""The member: what it proposes, what it applies, what it answers. No socket, no thread, no clock of
its own.

Requests come in through `propose` and `confirm_read`, raft's messages through `step`, time through
`tick`. `ready`, `save_job`, `apply` and `advance` are the driver's: they take what raft wants done
and report it as done. Everything happens on one thread, so the order of the code is the order of
events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from mypy_extensions import mypyc_attr

from etcdpy.auth import NOBODY, ROOT, AuthInfo
from etcdpy.cluster.members import MalformedMember
from etcdpy.cluster.membership import MembershipError
from etcdpy.proto.rpc_pb2 import CompactionRequest
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.errors import ProposalDropped
from etcdpy.raft.messages import ConfChangeType, Role
from etcdpy.server import member_log, v2_requests
from etcdpy.server.errors import (
    CallerDeadline,
    RequestTooLarge,
    Stopped,
    Timeout,
    TimeoutDueToConnectionLost,
    TimeoutDueToLeaderFail,
    TimeoutLeaderTransfer,
    TooManyRequests,
)
from etcdpy.server.observed import MemberObserved
from etcdpy.server.read import ReadQueue
from etcdpy.server.requests import decode_request, encode_request
from etcdpy.server.results import Result
from etcdpy.server.v2_state import note_change
from etcdpy.server.waits import IndexWaits, Wait, Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

    from etcdpy.proto.etcdserver_pb2 import Request
    from etcdpy.raft.messages import ConfChange, Entry, Ready, Snapshot, SoftState
    from etcdpy.raft.messages import Message as RaftMessage
    from etcdpy.raft.raw_node import RawNode
    from etcdpy.server.config import Config
    from etcdpy.server.duties import Duties
    from etcdpy.server.log import Logger
    from etcdpy.server.plain import PlainRequest
    from etcdpy.server.read import ReadDone
    from etcdpy.server.reconfigure import Connections
    from etcdpy.server.request_ids import RequestIds
    from etcdpy.server.results import Done
    from etcdpy.server.state import State
    from etcdpy.server.storage import Storage

# Proposals are refused while this many committed entries wait to be applied.
UNAPPLIED_ENTRIES_MAX = 5000
# The same for revokes of leases with the gate PriorityRequest.
UNAPPLIED_ENTRIES_PRIORITY_MAX = 10_000
# A removed member stays this long after it has applied its removal.
REMOVED_STOP_DELAY_S = 1.0
# A heartbeat counts as late when two of them could have been sent since the one before.
LATE_HEARTBEATS = 2
# Read context of a member that needs nobody else's word; never on the wire.
_ALONE = b"alone"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are in which cluster."""

    member_id: int
    cluster_id: int


class PermanentlyRemoved(Exception):
    """The cluster has removed this member; it ends, and its data is of no more use."""

    def __init__(self) -> None:
        super().__init__("the member has been permanently removed from the cluster")


@mypyc_attr(allow_interpreted_subclasses=True)
class Member:
    """One member of a cluster. The driver sets `on_work`; embed sets the other callbacks."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        node: RawNode,
        state: State,
        storage: Storage,
        request_ids: RequestIds,
        clock: Callable[[], float],
        log: Logger,
    ) -> None:
        self.config = config
        self.member_id = identity.member_id
        self.cluster_id = identity.cluster_id
        self.node = node
        self.state = state
        self.request_ids = request_ids
        self.clock = clock
        self.log = log
        self.duties: Duties | None = None
        self.on_work: Callable[[], None] = lambda: None
        self.on_leader_change: Callable[[int], None] = lambda leader: None
        self.on_membership_change: Callable[[], None] = lambda: None
        self.on_failure: Callable[[Exception], None] = lambda error: None
        # Puts the state of a received snapshot in the place of ours, and gives it.
        self.install: Callable[[Snapshot], State] | None = None
        self.on_state_replaced: Callable[[], None] = lambda: None
        self.connections: Connections | None = None
        # Followers that are sent a snapshot go on from the log behind it, which must not be cut meanwhile.
        self.snapshots_under_way = 0
        self.snapshot_sent_at: float | None = None

        self.applied_index = node.applied
        self.applied_term = node.term_at(node.applied) or 0
        # Entries up to here are in the backend already; after a restart they are only counted again.
        self._covered_index = state.backend.consistent_index
        self._storage = storage
        self.request_timeout_s = 5 + 2 * config.election_timeout_ms / 1000
        self._prefers_revokes = config.features["PriorityRequest"]
        self._waits = Waits(self.request_timeout_s)
        self._index_waits = IndexWaits(self.request_timeout_s)
        self._reads = ReadQueue(request_ids.next, self.request_timeout_s)
        self._inbox: list[bytes] = []
        self._stopped = False
        self._alone = node.is_alone
        self.is_learner = False
        """Whether this member only listens."""
        self.is_overloaded = False
        """Whether the backend's disk is so far behind that no more may be written for now."""
        self._look_at_configuration()
        self._conf_waits: dict[int, Done] = {}
        self._conf_inbox: list[ConfChange] = []
        self._transfers: list[tuple[int, float, Callable[[Exception | None], None]]] = []
        self._leader = 0
        self.leader_found_at: float | None = None
        """When the present leader was found, on this member's clock."""
        self.observed = MemberObserved()
        self._ticked_at = clock()

    # What a response header and a status say.

    @property
    def raft_term(self) -> int:
        """Current term."""
        return self.node.term

    @property
    def leader_id(self) -> int:
        """The leader as this member knows it, 0 for none."""
        return self.node.leader

    @property
    def commit_index(self) -> int:
        """Last entry known to be on a quorum."""
        return self.node.commit

    @property
    def role(self) -> Role:
        """Role in the current term."""
        return self.node.role

    @property
    def is_leader(self) -> bool:
        """Whether this member leads its term."""
        return self.node.role is Role.LEADER

    @property
    def pending_proposals(self) -> int:
        """Proposals that wait to be applied."""
        return len(self._waits)

    @property
    def slow_reads(self) -> int:
        """How often a read index had to be asked for again."""
        return self._reads.slow

    @property
    def failed_reads(self) -> int:
        """How often a read index was not to be had."""
        return self._reads.failed

    # Requests.

    def propose(
        self,
        kind: str,
        message: Message | PlainRequest,
        data: bytes,
        done: Done,
        info: AuthInfo = NOBODY,
    ) -> None:
        """Put a request into the log; `done` is called once, when this member has applied it or cannot.

        Args:
            kind: field name in InternalRaftRequest.
            message: the decoded request, read again when the entry is applied.
            data: its serialized form.
            done: called on the loop thread.
            info: who asks, when auth is on.
        """
        if self._stopped:
            done(Result(error=Stopped()))
            return
        if (
            self.node.commit > self.applied_index + UNAPPLIED_ENTRIES_MAX or self.is_overloaded
        ) and not self._has_priority(kind):
            done(Result(error=TooManyRequests()))
            return
        encoded = encode_request(kind, data, self.request_ids.next(), info.username, info.revision)
        if len(encoded) > self.config.max_request_bytes:
            done(Result(error=RequestTooLarge()))
            return
        self._waits.add(Wait(encoded, kind, message, done, self.clock(), info))
        self._inbox.append(encoded)
        self.on_work()

    def _has_priority(self, kind: str) -> bool:
        """Whether a request may go on waiting where others are refused: leases that are not revoked hold
        what makes the member slow.
        """
        return (
            kind == "lease_revoke"
            and self._prefers_revokes
            and self.node.commit <= self.applied_index + UNAPPLIED_ENTRIES_PRIORITY_MAX
        )

    def propose_v2(self, request: Request, done: Done) -> None:
        """The same with a request of the v2 API, which gets its id here; `done` is given a `V2Result`.

        Its size is for the HTTP port to bound, as it is in etcd.
        """
        if self._stopped:
            done(Result(error=Stopped()))
            return
        if self.node.commit > self.applied_index + UNAPPLIED_ENTRIES_MAX or self.is_overloaded:
            done(Result(error=TooManyRequests()))
            return
        request.ID = self.request_ids.next()
        encoded = v2_requests.encode(request)
        self._waits.add(Wait(encoded, v2_requests.KIND, request, done, self.clock()))
        self._inbox.append(encoded)
        self.on_work()

    def propose_own(self, kind: str, message: Message, done: Done | None = None) -> None:
        """Propose what the server itself wants. It may do everything."""
        auth = self.state.auth
        info = AuthInfo(ROOT, auth.revision) if auth.is_enabled else NOBODY
        self.propose(kind, message, message.SerializeToString(), done or _ignore, info)

    def propose_conf_change(self, change: ConfChange, done: Done) -> None:
        """Put a change of the configuration into the log; `done` is called when it has been applied or
        refused.
        """
        if self._stopped:
            done(Result(error=Stopped()))
            return
        change = replace(change, id=self.request_ids.next())
        self._conf_waits[change.id] = done
        self._conf_inbox.append(change)
        self.on_work()

    def confirm_read(self, done: ReadDone) -> None:
        """Call `done(None)` when a read of the local state is linearizable, `done(error)` when it
        cannot be.
        """
        if self._stopped:
            done(Stopped())
            return
        if self._alone and self._read_alone():
            done(None)
            return
        self._reads.add(done)
        self.on_work()

    def when_caught_up(self, done: Callable[[], None]) -> None:
        """Call back when everything that is committed now has been applied."""
        if self.applied_index >= self.node.commit:
            done()
        else:
            self._reads.wait_for(self.node.commit, lambda error: done())

    def when_applied(self, index: int, done: Callable[[], None]) -> None:
        """Call back when the entry at `index` has been applied, or has not come for too long."""
        if index <= self.applied_index:
            done()
        else:
            self._index_waits.add(index, self.clock(), done)

    def _read_alone(self) -> bool:
        """Whether raft confirms a read at once, as it does for the only voter, and its index has been
        applied.
        """
        if self.node.role is not Role.LEADER:
            return False
        self.node.read_index(_ALONE)
        confirmed = False
        for state in self.node.take_read_states():
            if state.context == _ALONE:
                confirmed = state.index <= self.applied_index
            else:
                self._reads.confirm(state.context, state.index)
        return confirmed

    def transfer_leadership(self, target_id: int, done: Callable[[Exception | None], None]) -> None:
        """Ask raft to hand leadership to `target_id`; `done` when it leads, or when the election
        timeout has passed.
        """
        self.node.transfer_leader(target_id)
        self._transfers.append((target_id, self.clock() + self.request_timeout_s, done))
        self.on_work()

    def _look_at_transfers(self, now: float) -> None:
        waiting = []
        for target_id, deadline, done in self._transfers:
            if self.node.leader == target_id:
                done(None)
            elif now >= deadline:
                done(TimeoutLeaderTransfer())
            else:
                waiting.append((target_id, deadline, done))
        self._transfers = waiting

    def step(self, message: RaftMessage) -> None:
        """A message from a peer."""
        if not self._stopped:
            self.node.step(message)
            self.on_work()

    def tick(self) -> None:
        """One heartbeat interval has passed."""
        self.node.tick()
        now = self.clock()
        self._look_at_heartbeats(now)
        self._waits.expire(now, self._timeout_error)
        self._reads.expire(now)
        if self._index_waits:
            self._index_waits.expire(now)
        context = self._reads.retry(now)
        if context is not None:
            self.node.read_index(context)
        if self._transfers:
            self._look_at_transfers(now)
        if self.duties is not None:
            self.duties.tick(now)

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended; what it stands on may be closed at any time."""
        return self._stopped

    def _look_at_heartbeats(self, now: float) -> None:
        """Count the heartbeats that a busy loop has let the followers wait for."""
        last, self._ticked_at = self._ticked_at, now
        late = now - last > LATE_HEARTBEATS * self.config.heartbeat_interval_ms / 1000
        if late and self.is_leader:
            self.observed.late_heartbeats += len(self.state.membership.members) - 1

    def stop(self) -> None:
        """Refuse what waits and all that comes."""
        self._stopped = True
        self._inbox.clear()
        self._waits.fail_all(Stopped())
        conf_waits, self._conf_waits = self._conf_waits, {}
        for done in conf_waits.values():
            done(Result(error=Stopped()))
        self._reads.fail(Stopped())

    # The driver's side.

    def ready(self) -> Ready | None:
        """What raft wants done next, with everything that has come in since."""
        self._feed()
        return self.node.ready() if self.node.has_ready() else None

    def _feed(self) -> None:
        if self._inbox and self._can_propose():
            inbox, self._inbox = self._inbox, []
            try:
                self.node.propose(inbox)
            except ProposalDropped:
                # Leadership is on the move: the next leader will take them.
                self._inbox = inbox
        if self._conf_inbox and self._can_propose():
            self._feed_conf_changes()
        context = self._reads.next_round(self.clock())
        if context is not None:
            self.node.read_index(context)

    def _can_propose(self) -> bool:
        """Whether a proposal would get anywhere. What is sent to a leader that has just died is lost; what
        waits here goes to the next one.
        """
        leader = self.node.leader
        if leader in (0, self.member_id) or self.connections is None:
            return leader != 0
        return not self.connections.is_lost(leader)

    def _feed_conf_changes(self) -> None:
        changes, self._conf_inbox = self._conf_inbox, []
        for number, change in enumerate(changes):
            try:
                self.node.propose_conf_change(change)
            except ProposalDropped:
                self._conf_inbox = changes[number:]
                return

    def save_job(self, ready: Ready) -> Callable[[], None] | None:
        """What the WAL thread must do for this batch; None when nothing has to reach the disk."""
        return self._storage.save_job(ready)

    def apply(self, ready: Ready) -> None:
        """Apply what is committed, answer who waits for it, let go the readers that waited for it."""
        if ready.soft_state is not None:
            self._soft_state_changed(ready.soft_state)
        if ready.snapshot is not None:
            self._install(ready.snapshot)
        for read_state in ready.read_states:
            self._reads.confirm(read_state.context, read_state.index)
        if ready.committed_entries:
            self._apply_entries(ready.committed_entries)
            if self.applied_index > self._covered_index:
                # Until then the backend is ahead of what is counted again after a restart, and must stay so:
                # an index that went back would have the same entries applied twice after the next crash.
                self.state.backend.set_consistent(self.applied_index, self.applied_term)
        self._reads.release(self.applied_index)
        if self._index_waits:
            self._index_waits.release(self.applied_index)

    def advance(self, ready: Ready) -> None:
        """The batch has been saved, sent and applied."""
        self.node.advance(ready)
        if ready.committed_entries and self.duties is not None:
            self.duties.applied()

    def disk_failed(self, error: Exception) -> None:
        """The log cannot be written any more: nothing that follows may be acknowledged."""
        self.fail("failed to write the write-ahead log", error)

    def fail(self, message: str, error: Exception) -> None:
        """This member cannot go on."""
        member_log.failed(self.log, message, error)
        self.stop()
        self.on_failure(error)

    def _install(self, snapshot: Snapshot) -> None:
        """Take over the state that came with a snapshot, which is on disk and named in the log by now."""
        assert self.install is not None, f"a snapshot at {snapshot.index} and nobody to install it"
        assert snapshot.index > self.applied_index, (
            f"snapshot at {snapshot.index}, {self.applied_index} applied"
        )
        self.observed.installing_snapshot = 1
        self.state = self.install(snapshot)
        self.observed.installing_snapshot = 0
        self.applied_index, self.applied_term = snapshot.index, snapshot.term
        self._covered_index = snapshot.index
        self._look_at_configuration()
        self.on_state_replaced()

    # Applying.

    def _apply_entries(self, entries: Sequence[Entry]) -> None:
        started = self.clock()
        for entry in entries:
            self._apply_entry(entry)
        if self.state.hub.collected_revisions:
            self._deliver_events()
        touched = self.state.applier.touched
        if touched:
            took = self.clock() - started
            self.observed.applied.batch_ended(touched, took)
            if took > self.config.warning_apply_duration_s:
                self.observed.slow_applies += 1
                member_log.applied_slowly(self.log, took, self.config.warning_apply_duration_s, len(entries))

    def _deliver_events(self) -> None:
        if self.duties is None:
            self.state.hub.flush()
        else:
            self.duties.deliveries.deliver()

    def _apply_entry(self, entry: Entry) -> None:
        index = entry.index
        assert index == self.applied_index + 1, f"applying {index} after {self.applied_index}"
        covered = index <= self._covered_index
        if entry.type:  # NORMAL is 0
            self._apply_conf_change(entry, covered)
        elif not entry.data:
            if self.is_leader and not covered and not self.state.lessor.is_primary:
                self.state.lessor.promote(self.clock(), self.config.election_timeout_ms / 1000)
        elif not covered:
            self._apply_request(entry.data, index)
        self.applied_index = index
        self.applied_term = entry.term

    def _apply_request(self, data: bytes, index: int) -> None:
        wait = self._waits.find(data)
        if wait is not None:
            result = self.state.applier.apply(wait.kind, wait.request, wait.info, index)
            self._waits.take(data)
            if wait.kind == "compaction":
                self._answer_compaction(wait, result)
            else:
                wait.done(result)
            return
        try:
            decoded = decode_entry(data)
        except DecodeError as error:
            # Every member sees the same bytes and skips the same entry.
            member_log.failed(self.log, "failed to decode a committed entry", error)
            return
        if decoded is not None:
            self.state.applier.apply(*decoded, index)

    def _answer_compaction(self, wait: Wait, result: Result) -> None:
        physical = (
            isinstance(wait.request, CompactionRequest) and wait.request.physical and result.error is None
        )
        if physical and self.duties is not None:
            self.duties.when_compacted(lambda: wait.done(result))
        else:
            wait.done(result)

    def _apply_conf_change(self, entry: Entry, covered: bool) -> None:
        change = raft_codec.decode_conf_change(entry.data)
        wait = self._conf_waits.pop(change.id, None)
        error: Exception | None = None
        if covered:
            # Raft has begun with the configuration that all covered changes lead to.
            change = replace(change, node_id=0)
        else:
            try:
                self.state.membership.apply(change)
                note_change(self.state.v2, change)
            except (MembershipError, MalformedMember) as refusal:
                error = refusal
                change = replace(change, node_id=0)  # etcd's way to make raft take no notice
        self.node.apply_conf_change(change)
        self._look_at_configuration()
        if not covered:
            self.on_membership_change()
        if change.node_id == self.member_id and change.type is ConfChangeType.REMOVE_NODE:
            self._removed()
        if wait is not None:
            wait(Result(error=error))

    def _removed(self) -> None:
        member_log.removed(self.log)
        if self.duties is not None:
            # Whoever asked for the removal is answered first, and the others learn that it is committed.
            self.duties.later(REMOVED_STOP_DELAY_S, lambda: self.on_failure(PermanentlyRemoved()))

    def _look_at_configuration(self) -> None:
        self._alone = self.node.is_alone
        self.is_learner = self.member_id in self.node.conf_state.learners

    # Leadership.

    def _soft_state_changed(self, soft_state: SoftState) -> None:
        now = self.clock()
        member_log.leader_changed(self.log, soft_state, self.node.term)
        if soft_state.leader != self._leader:
            if soft_state.leader:
                self.observed.leader_changes += 1
                self.leader_found_at = now
                # The leader before may have lost the question; the new one answers it as well.
                context = self._reads.ask_again(now)
                if context is not None:
                    self.node.read_index(context)
            self._leader = soft_state.leader
        if not self.is_leader:
            self.state.lessor.demote()
        if soft_state.leader and self.duties is not None:
            self.duties.leader_found()
        self.on_leader_change(soft_state.leader)

    def _timeout_error(self, wait: Wait) -> Exception:
        self.observed.proposals_failed += 1
        if wait.data in self._inbox:
            self._inbox.remove(wait.data)
            return CallerDeadline()
        found = self.leader_found_at
        election_s = 2 * self.config.election_timeout_ms / 1000
        if found is not None and found - election_s <= wait.started <= found:
            return TimeoutDueToLeaderFail()
        return TimeoutDueToConnectionLost() if self._was_cut_off(wait.started) else Timeout()

    def _was_cut_off(self, started: float) -> bool:
        """Whether the connections that a proposal needed have not been there all the time since `started`."""
        connections, leader = self.connections, self.node.leader
        if connections is None or not leader:
            return False

        def is_connected(member_id: int) -> bool:
            since = connections.active_since(member_id)
            return since is not None and since < started

        if leader != self.member_id:
            return not is_connected(leader)
        members = self.state.membership.members
        connected = sum(member.id == self.member_id or is_connected(member.id) for member in members)
        return connected <= len(members) // 2


def decode_entry(data: bytes) -> tuple[str, Message, AuthInfo] | None:
    """Kind, request and user of a normal entry; None for a request that means nothing to us."""
    old = v2_requests.parse(data)
    if old is not None:
        converted = v2_requests.convert(old)
        return None if converted is None else (*converted, NOBODY)
    decoded = decode_request(data)
    if decoded is None:
        return None
    kind, request, header = decoded
    return kind, request, AuthInfo(header.username, header.auth_revision)


def _ignore(result: Result) -> None:
    """Nobody waits for what the server proposes by itself."""
