"""From a data directory to the parts of a member.

A new member writes its WAL with one configuration change for each initial member, already committed, and
then takes the way of every restart: open the backend, choose the raft snapshot, read the log, and hand raft
what it finds. There is no second way in that could differ (formats reference, sections 7.1 and 9.4).
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from etcdpy import wal
from etcdpy.auth import AuthStore
from etcdpy.backend import Backend, Bucket
from etcdpy.backend.memory_lock import lock_in_memory
from etcdpy.cluster.bootstrap import Cluster, first_changes
from etcdpy.cluster.membership import Membership
from etcdpy.cluster.version import Version
from etcdpy.lease import Lessor
from etcdpy.mvcc import Store
from etcdpy.mvcc.watch import WatchHub
from etcdpy.proto.etcdserver_pb2 import Metadata
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.raft import codec as raft_codec
from etcdpy.raft.config import Config as RaftConfig
from etcdpy.raft.messages import Entry, EntryType, HardState
from etcdpy.raft.raw_node import RawNode
from etcdpy.server.alarms import Alarms
from etcdpy.server.apply import Applier
from etcdpy.server.config_tokens import tokens_of
from etcdpy.server.force_new import take_over
from etcdpy.server.member import Identity
from etcdpy.server.permits import Permits
from etcdpy.server.quota import Quota
from etcdpy.server.snapshots import Received
from etcdpy.server.state import State
from etcdpy.server.storage import Storage
from etcdpy.server.v2_state import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    CallSoon = Callable[[Callable[[], None]], None]

    from etcdpy.backend.observed import BackendObserved
    from etcdpy.proto.raft_pb2 import Snapshot as WireSnapshot
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

BOOTSTRAP_TERM = 1

# The database's note of whose it is: member id, cluster id.
IDENTITY_KEY = b"member"
IDENTITY_IDS = Struct(">QQ")


class DataDirectoryError(Exception):
    """The data directory cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie below the data directory."""

    data_dir: Path
    wal_dir: Path

    @property
    def snap_dir(self) -> Path:
        """Raft snapshots and the backend."""
        return self.data_dir / "member" / "snap"

    @property
    def backend(self) -> Path:
        """The backend's file."""
        return self.snap_dir / "db"


@dataclass(slots=True)
class Parts:
    """What embed joins into a member."""

    identity: Identity
    node: RawNode
    state: State
    storage: Storage
    fresh: bool


def layout(config: Config) -> Layout:
    """Directories of this configuration."""
    data_dir = config.data_dir
    return Layout(data_dir, config.wal_dir or data_dir / "member" / "wal")


def lock_data_directory(where: Layout) -> int:
    """Make the directory and take it for this process; the lock lasts as long as the returned
    descriptor is open.

    Raises:
        DataDirectoryError: another process has it, or it cannot be written.
    """
    if (where.data_dir / "member").is_dir() and (where.data_dir / "proxy").is_dir():
        raise DataDirectoryError("invalid datadir; both member and proxy directories exist")
    try:
        where.snap_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(where.data_dir / "member" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirectoryError(f"cannot access data directory: {_go_text(error)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DataDirectoryError(
            f"cannot access data directory: {where.data_dir} is in use by another process"
        ) from None
    return descriptor


def _go_text(error: OSError) -> str:
    """As Go tells what a directory cannot be made of: `mkdir PATH: not a directory`."""
    return f"mkdir {error.filename}: {(error.strerror or '').lower()}"


def bootstrap(
    config: Config,
    log: Logger,
    cluster: Cluster | None,
    *,
    call_soon: CallSoon,
    randrange: Callable[[int], int],
) -> Parts:
    """Open or create everything that a member keeps on disk, and build its state and its raft node.

    Args:
        cluster: which one it founds or joins; None for a member with data, which knows it already.

    Raises:
        DataDirectoryError: what is there cannot be used.
        wal.WalError: the log is damaged.
    """
    where = layout(config)
    disk = wal.RealFiles(unsafe_no_fsync=config.unsafe_no_fsync)
    fresh = not has_data(config)
    if fresh:
        assert cluster is not None, f"no data in {where.wal_dir}, and no cluster to found or join"
        _check_no_database(where)
        _create_wal(where, cluster, disk, is_founder=not config.is_joining)
    files = wal.SnapshotFiles(where.snap_dir, files=disk)
    files.remove_leftovers()
    snapshot, wal_log, recovered = _open_log(where, files, disk, config.max_wals)
    snapshot_index = 0 if snapshot is None else snapshot.metadata.index
    backend = _open_backend_at(config, call_soon, snapshot_index)
    identity = _identity(recovered.metadata)
    _check_identity(identity, backend, where)
    if rows := backend.entries(Bucket.HISTORY):
        log.info("converting the history of keys; this is done once", rows=rows)
    state = build_state(config, backend)
    _check_version(state)
    if state.membership.conf_state().voters == [identity.member_id]:
        _check_log_end(wal_log, backend)
    if config.force_new_cluster and not fresh:
        _force_new_cluster(config, identity, state, wal_log, recovered)
        log.warn("made a new cluster of this member alone", **{"local-member-id": f"{identity.member_id:x}"})
        wal_log.close()
        snapshot, wal_log, recovered = _open_log(where, files, disk, config.max_wals)
    node = _raft_node(config, identity, snapshot, recovered, state, randrange)
    log.info(
        "recovered member" if not fresh else "created member",
        **{
            "local-member-id": f"{identity.member_id:x}",
            "cluster-id": f"{identity.cluster_id:x}",
            "snapshot-index": snapshot_index,
            "commit-index": node.commit,
            "consistent-index": backend.consistent_index,
        },
    )
    storage = Storage(wal_log, files, snapshots_max=config.max_snapshots, first_snapshot_index=snapshot_index)
    return Parts(identity, node, state, storage, fresh)


def _check_no_database(where: Layout) -> None:
    """A database without its log must not get another one, whose entries it would take for applied."""
    if not where.backend.exists() or not where.backend.stat().st_size:
        return
    backend = Backend.open(where.backend)
    index = backend.consistent_index
    backend.abandon()
    if index:
        raise DataDirectoryError(
            f"{where.backend} is at index {index}, but there is no log in {where.wal_dir}: is it elsewhere "
            "(--wal-dir)? Without it, remove this member from the cluster and add it again with an empty "
            "data directory, or restore it from a snapshot"
        )


def _check_version(state: State) -> None:
    """A cluster that has gone on to a later release may hold what this one would take for something else."""
    membership = state.membership
    own, found = Version.parse(ETCD_VERSION), membership.cluster_version
    if found is not None and membership.downgrade is None and found > Version(own.major, own.minor):
        state.backend.abandon()
        raise DataDirectoryError(
            "invalid downgrade; server version is lower than determined cluster version "
            f"({own.short}, {found.short})"
        )


def has_data(config: Config) -> bool:
    """Whether the member has been started before."""
    return wal.exists(layout(config).wal_dir)


def open_backend(config: Config, call_soon: CallSoon, observed: BackendObserved | None = None) -> Backend:
    """The member's database; with `observed`, the counters of the one that it replaces."""
    path = layout(config).backend
    backend = Backend.open(
        path,
        call_soon=call_soon,
        batch_interval_s=config.backend_batch_interval_s,
        batch_operations_max=config.backend_batch_limit,
        sync=not config.unsafe_no_fsync,
        observed=observed,
    )
    if config.memory_mlock:
        try:
            lock_in_memory(path)
        except OSError:
            backend.abandon()
            raise
    return backend


def _open_backend_at(config: Config, call_soon: CallSoon, snapshot_index: int) -> Backend:
    """The database; where the log has gone on to a snapshot that waits to be installed, that one."""
    where = layout(config)
    received = Received(where.snap_dir)
    backend = open_backend(config, call_soon)
    if backend.consistent_index < snapshot_index:
        index = backend.consistent_index
        backend.abandon()
        try:
            received.install(snapshot_index, where.backend)
        except OSError as error:
            raise DataDirectoryError(
                f"the backend is at index {index}, before the raft snapshot at {snapshot_index}: {error}"
            ) from error
        backend = open_backend(config, call_soon)
    received.clean()
    return backend


def build_state(config: Config, backend: Backend, replaced: State | None = None) -> State:
    """Everything that stands on a backend; with the watchers, the tokens and the counters of the state that
    it replaces.

    Raises:
        ConfigError: the settings tell of no tokens that can be made.
    """
    store = Store(backend, observed=None if replaced is None else replaced.store.observed)
    if replaced is None:
        hub = WatchHub(store, progress_interval_s=config.watch_progress_notify_interval_s)
    else:
        hub = replaced.hub
        hub.restore(store)
    lessor = Lessor(
        backend,
        config.lease_ttl_min_s,
        observed=None if replaced is None else replaced.lessor.observed,
    )
    for lease_id, key in store.attached_leases():
        lessor.attach(lease_id, key)
    alarms = Alarms(backend)
    membership = Membership(backend, learners_max=config.max_learners)
    quota = Quota(config.quota_backend_bytes, lambda: backend.size_bytes)
    v2 = open_store(backend, None if replaced is None else replaced.v2.watchers)
    tokens = tokens_of(config) if replaced is None else replaced.auth.tokens
    auth = AuthStore(backend, tokens, bcrypt_cost=config.bcrypt_cost)
    permits = Permits(auth, lessor)
    applier = Applier(
        store,
        hub,
        lessor,
        alarms,
        membership,
        quota,
        v2,
        auth,
        permits,
        keeps_checkpoints=config.features["LeaseCheckpointPersist"],
    )
    return State(backend, store, hub, lessor, alarms, membership, quota, applier, v2, auth, permits)


def _force_new_cluster(
    config: Config, identity: Identity, state: State, log: wal.Log, recovered: wal.Recovered
) -> None:
    applied = state.backend.consistent_index
    if recovered.hard_state is None or (log.last_index < applied):
        raise DataDirectoryError(f"the log ends at {log.last_index}, but {applied} is applied")
    entries, hard_state = take_over(
        identity.member_id,
        [str(url) for url in config.initial_advertise_peer_urls],
        state.membership,
        applied,
        recovered.hard_state,
        recovered.entries,
        log.last_index,
    )
    encoded = [(entry.index, raft_codec.encode_entry(entry)) for entry in entries]
    log.append(encoded, raft_codec.encode_hard_state(hard_state), sync=True)


def _create_wal(where: Layout, cluster: Cluster, disk: wal.RealFiles, *, is_founder: bool) -> None:
    """A log that names the member. That of a founder begins with the first entries, in one step: a member
    that died between the two would know the cluster, of which it may have been told by DNS or a discovery
    service, but not who is in it.
    """
    metadata = Metadata(NodeID=cluster.local.id, ClusterID=cluster.id).SerializeToString()
    entries = first_entries(cluster) if is_founder else []
    state = raft_codec.encode_hard_state(HardState(BOOTSTRAP_TERM, 0, len(entries))) if entries else None
    wal.Log.create(where.wal_dir, metadata, entries, state, files=disk).close()


def first_entries(cluster: Cluster) -> list[tuple[int, bytes]]:
    """Every initial member as an entry that is already committed; all founders write the same."""
    entries = []
    for index, change in enumerate(first_changes(cluster.members), start=1):
        data = raft_codec.encode_conf_change(change)
        entry = Entry(BOOTSTRAP_TERM, index, EntryType.CONF_CHANGE, data)
        entries.append((index, raft_codec.encode_entry(entry)))
    return entries


def _open_log(
    where: Layout, files: wal.SnapshotFiles, disk: wal.RealFiles, segments_max: int
) -> tuple[WireSnapshot | None, wal.Log, wal.Recovered]:
    return open_newest(
        files, lambda mark: wal.Log.open(where.wal_dir, mark, segments_max=segments_max, files=disk)
    )


def open_newest(
    files: wal.SnapshotFiles, open_at: Callable[[wal.SnapshotMark], tuple[wal.Log, wal.Recovered]]
) -> tuple[WireSnapshot | None, wal.Log, wal.Recovered]:
    """Open a log at the newest snapshot that it names and knows to be committed, in one reading of it."""
    for snapshot in files.whole():
        try:
            log, recovered = open_at(_mark_of(snapshot))
        except wal.MissingMark:
            continue
        if recovered.hard_state is not None and recovered.hard_state.commit >= snapshot.metadata.index:
            return snapshot, log, recovered
        log.close()
    return (None, *open_at(wal.SnapshotMark(0, 0, None)))


def _mark_of(snapshot: WireSnapshot) -> wal.SnapshotMark:
    metadata = snapshot.metadata
    return wal.SnapshotMark(metadata.index, metadata.term, metadata.conf_state.SerializeToString())


def _check_identity(identity: Identity, backend: Backend, where: Layout) -> None:
    """A database belongs to the member whose log first met it."""
    ids = (identity.member_id, identity.cluster_id)
    stored = backend.get(Bucket.IDENTITY, IDENTITY_KEY)
    if stored is None:
        backend.put(Bucket.IDENTITY, IDENTITY_KEY, IDENTITY_IDS.pack(*ids))
        return
    of_database = IDENTITY_IDS.unpack(stored) if len(stored) == IDENTITY_IDS.size else (0, 0)
    if of_database != ids:
        backend.abandon()
        raise DataDirectoryError(
            f"{backend.path} is the database of member {of_database[0]:x} of cluster {of_database[1]:x}, but "
            f"the log in {where.wal_dir} is that of member {ids[0]:x} of cluster {ids[1]:x}: put the "
            "directories that belong together in their places, or restore this member from a snapshot"
        )


def _check_log_end(log: wal.Log, backend: Backend) -> None:
    """A lone member applies what its log has. (One among others may be ahead of a log that was not synced:
    they have what is missing.)
    """
    if backend.consistent_index > log.last_index:
        raise DataDirectoryError(
            f"{backend.path} is at index {backend.consistent_index}, but {log.directory} ends at "
            f"{log.last_index}: the log has lost entries, or is another member's. Restore this member from a "
            "snapshot"
        )


def _identity(metadata: bytes) -> Identity:
    parsed = Metadata.FromString(metadata)
    return Identity(parsed.NodeID, parsed.ClusterID)


def _raft_node(
    config: Config,
    identity: Identity,
    snapshot: WireSnapshot | None,
    recovered: wal.Recovered,
    state: State,
    randrange: Callable[[int], int],
) -> RawNode:
    """Raft goes on from where the backend is, which may be after the snapshot: what has been applied is not
    gone through again, and the membership tells the configuration that came of it.
    """
    raft_config = RaftConfig(
        id=identity.member_id,
        election_ticks=config.election_ticks,
        heartbeat_ticks=1,
        randrange=randrange,
        pre_vote=config.pre_vote,
        check_quorum=True,
    )
    return recovered_node(raft_config, snapshot, recovered, state)


def recovered_node(
    raft_config: RaftConfig, snapshot: WireSnapshot | None, recovered: wal.Recovered, state: State
) -> RawNode:
    """Raft as the log and the database remember it."""
    hard_state = recovered.hard_state
    applied = state.backend.consistent_index
    return RawNode(
        raft_config,
        hard_state=(
            HardState()
            if hard_state is None
            else HardState(hard_state.term, hard_state.vote, hard_state.commit)
        ),
        snapshot=None if snapshot is None else raft_codec.snapshot_from_pb(snapshot),
        entries=raft_codec.decode_entries(recovered.encoded),
        applied=applied,
        conf_state=state.membership.conf_state() if applied else None,
    )
