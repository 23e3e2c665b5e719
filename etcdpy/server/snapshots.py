"""The whole state of a member in one file: made for others, and taken over from others.

A snapshot to a follower and a snapshot to a client are the same bbolt file, made from one view of the
backend. What goes with it (index, term, configuration, membership as v2 JSON) is read from that same view, so
nothing can have moved in between. The view is taken when a flush has ended; the file is written by a worker
thread into a nameless file, from which it can be sent as slowly as the receiver likes.

A received file takes the other way: a worker thread turns it into a database of ours, complete and synced,
under `<index>.snap.db`. Raft hears of it only then. When the log names the snapshot, `Received.install` puts
the database in the place of the old one; a member that dies before finds it at its next start.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from etcdpy import bolt
from etcdpy.backend import ETCD_BUCKETS, NAMES, Backend, BackendError, Bucket
from etcdpy.cluster.membership import CorruptMembership, Membership
from etcdpy.cluster.v2 import load_store
from etcdpy.cluster.version import Version
from etcdpy.mvcc import CorruptStore
from etcdpy.mvcc.imports import import_records
from etcdpy.raft.messages import Snapshot
from etcdpy.server.v2_state import V2Bucket, open_store
from etcdpy.v2store import dump, import_dump

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from etcdpy.backend import Reader
    from etcdpy.raft.messages import ConfState
    from etcdpy.server.member import Member

T = TypeVar("T")

CONSISTENT_INDEX, TERM = b"consistent_index", b"term"
CONF_STATE, STORAGE_VERSION = b"confState", b"storageVersion"
FIRST_WITH_STORAGE_VERSION = Version(3, 6)
LOCK_SUFFIX = "-lock"


class BadSnapshot(Exception):
    """What was received is no snapshot of this cluster; the text says why."""


class Worker(Protocol):
    """Runs jobs beside the loop."""

    def run(self, job: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """Run `job` in a thread, then `done` on the loop thread with its result or its error."""


@dataclass(slots=True)
class SnapshotFile:
    """A bbolt database, and the raft snapshot whose state it is. A `SnapshotSource` of the rpc room."""

    head: Snapshot
    size_bytes: int
    version: str
    file: BinaryIO

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer only at the end."""
        return self.file.read(size)

    def close(self) -> None:
        """Let the file go, and with it the space it takes."""
        self.file.close()


class SnapshotMaker:
    """Makes snapshots of one member's backend."""

    def __init__(self, member: Member, directory: Path, worker: Worker) -> None:
        self._member = member
        self._directory = directory
        self._worker = worker
        self._under_way = 0
        self._retired: list[Backend] = []

    def make(self, done: Callable[[SnapshotFile | None, Exception | None], None]) -> None:
        """A snapshot of at least everything that has been applied by now; `done` on the loop thread."""
        backend, clock = self._member.state.backend, self._member.clock
        started = clock()

        def written(file: SnapshotFile | None, error: Exception | None) -> None:
            self._under_way -= 1
            self._let_go()
            backend.observed.snapshots_s.observe(clock() - started)
            done(file, error)

        def flushed() -> None:
            view = backend.view()
            self._under_way += 1
            self._worker.run(lambda: self._write(view), written)

        try:
            backend.flush(flushed)
        except BackendError as error:
            done(None, error)

    def retire(self, backend: Backend) -> None:
        """Close a backend that has been replaced, once no worker reads it any more."""
        backend.give_up_copy()
        self._retired.append(backend)
        self._let_go()

    def _let_go(self) -> None:
        if not self._under_way:
            retired, self._retired = self._retired, []
            for backend in retired:
                backend.abandon()

    def _write(self, view: Reader) -> SnapshotFile:
        """In a worker thread."""
        with view:
            head, version = describe(view)
            file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # outlives this call
            try:
                layout = bolt.write_file(file, database(view, head.conf_state, version))
                file.seek(0)
            except BaseException:
                file.close()
                raise
            return SnapshotFile(head, layout.size_bytes, version, file)


class _Buckets:
    """Buckets that can only be read, for those who could also write."""

    def __init__(self, view: Reader) -> None:
        self.get = view.get
        self.items = view.items

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        raise AssertionError("a view is not written to")

    def delete(self, bucket: Bucket, key: bytes) -> None:
        raise AssertionError("a view is not written to")


def describe(view: Reader) -> tuple[Snapshot, str]:
    """The raft snapshot that a view is the state of, without its data, and the version of its schema."""
    buckets = _Buckets(view)
    membership = Membership(buckets)
    head = Snapshot(
        _number(view, CONSISTENT_INDEX),
        _number(view, TERM),
        membership.conf_state(),
        dump(membership.state(), open_store(buckets)),
    )
    version = membership.cluster_version
    is_new = version is not None and version >= FIRST_WITH_STORAGE_VERSION
    return head, str(version) if is_new else ""


def _number(view: Reader, name: bytes) -> int:
    return int.from_bytes(view.get(Bucket.META, name) or b"", "big")


def database(view: Reader, conf_state: ConfState, version: str) -> dict[bytes, bolt.Source]:
    """The buckets of etcd, as etcd writes them."""

    def source(bucket: Bucket) -> bolt.Source:
        return lambda: view.items(bucket)

    meta = dict(view.items(Bucket.META))
    meta[CONF_STATE] = encode_conf_state(conf_state)
    meta.pop(STORAGE_VERSION, None)
    if version:
        meta[STORAGE_VERSION] = version.encode()
    buckets = {NAMES[bucket]: source(bucket) for bucket in ETCD_BUCKETS}
    return buckets | {NAMES[Bucket.META]: lambda: sorted(meta.items())}


def encode_conf_state(conf_state: ConfState) -> bytes:
    """As Go writes it: lists only when there is something in them."""
    fields: dict[str, object] = {"voters": conf_state.voters} if conf_state.voters else {}
    if conf_state.learners:
        fields["learners"] = conf_state.learners
    fields["auto_leave"] = conf_state.auto_leave
    return json.dumps(fields, separators=(",", ":")).encode()


class Received:
    """Databases that have arrived, on their way into their place."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, index: int) -> Path:
        """Where the database of the snapshot at `index` waits."""
        return self._directory / f"{index:016x}.snap.db"

    def open_staging(self) -> BinaryIO:
        """A nameless file for the bytes as they come."""
        return tempfile.TemporaryFile(dir=self._directory)

    def convert(self, source: BinaryIO, head: Snapshot) -> None:
        """Turn a received bbolt database into one of ours, and make it last. For a worker thread.

        Raises:
            BadSnapshot: it is none, or not the one that `head` describes.
            OSError, BackendError: it cannot be written.
        """
        target = self.path(head.index)
        if target.exists():
            return
        staging = target.with_name("tmp." + target.name)
        _remove(staging)
        try:
            with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data, bolt.Reader(data) as reader:
                _convert(reader, staging, head)
        except (ValueError, bolt.BoltError, CorruptStore, CorruptMembership) as error:
            # ValueError: an empty file cannot be mapped; and membership that is none.
            _remove(staging)
            raise BadSnapshot(str(error)) from error
        except BaseException:
            _remove(staging)
            raise
        _remove_lock(staging)
        staging.rename(target)
        sync_directory(self._directory)

    def install(self, index: int, place: Path) -> None:
        """Put the database of the snapshot at `index` where the member's own is. Nobody may have that open.

        Raises:
            OSError: it is not there.
        """
        _remove_lock(place)
        self.path(index).replace(place)
        sync_directory(self._directory)

    def clean(self) -> None:
        """Remove databases that were never installed or arrived only in part. For the start."""
        for pattern in ("*.snap.db", "*.snap.db" + LOCK_SUFFIX):
            for path in self._directory.glob(pattern):
                path.unlink(missing_ok=True)

    def clean_up_to(self, index: int) -> None:
        """Remove databases that a later one has overtaken."""
        for path in self._directory.glob("[0-9a-f]*.snap.db"):
            if int(path.name.partition(".")[0], 16) <= index:
                path.unlink(missing_ok=True)


def _convert(reader: bolt.Reader, target: Path, head: Snapshot) -> None:
    known = set(reader.buckets())
    with_records = NAMES[Bucket.KEY]
    leases = set()
    backend = Backend.open(target, batch_operations_max=1 << 30, sync=False)
    try:
        for bucket in ETCD_BUCKETS:
            name = NAMES[bucket]
            if name not in known or name == with_records:
                continue
            for key, value in reader.items(name):
                backend.put(bucket, key, value)
                if bucket is Bucket.LEASE:
                    leases.add(int.from_bytes(key, "big", signed=True))
        _check_index(backend, head)
        if head.data:
            # Members of 3.5 keep the membership in the JSON, and not all of it in the database.
            Membership(backend).replace(load_store(head.data))
            import_dump(head.data, V2Bucket(backend))
        backend.flush_sync()
        import_records(backend, _records(reader, with_records, known), leases)
        backend.set_consistent(head.index, head.term)
        backend.flush_sync()
        backend.sync()
    finally:
        backend.abandon()


def _records(reader: bolt.Reader, name: bytes, known: set[bytes]) -> Iterable[tuple[bytes, bytes]]:
    records: Iterator[tuple[bytes, bytes]] = reader.items(name) if name in known else iter(())
    return records


def _check_index(backend: Backend, head: Snapshot) -> None:
    index = int.from_bytes(backend.get(Bucket.META, CONSISTENT_INDEX) or b"", "big")
    if index > head.index:
        raise BadSnapshot(f"the database is at index {index}, the snapshot at {head.index}")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_lock(path)


def _remove_lock(path: Path) -> None:
    """LMDB's lock table belongs to the processes that had the file open, not to the data."""
    with suppress(FileNotFoundError):
        path.with_name(path.name + LOCK_SUFFIX).unlink()


def sync_directory(directory: Path) -> None:
    """Make renames in it last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
