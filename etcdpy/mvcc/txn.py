"""The changes of one raft entry.

All writes of a transaction share one main revision and count up its sub-revision, one for each key written.
They go into the open batch at once, so the transaction reads its own writes like anybody would later; there
is no way back, and none is needed: the applier checks everything that can fail before it writes.
"""

from typing import TYPE_CHECKING, Final

from etcdpy.backend import Bucket
from etcdpy.mvcc.event import DELETE, PUT, Event
from etcdpy.mvcc.key_index import (
    LIVE_BYTES,
    TOMBSTONE_BYTES,
    KeyMeta,
    decode_birth,
    encode_entry,
    lease_of,
    move_attachment,
)
from etcdpy.mvcc.key_value import encode_deleted, encode_key_value
from etcdpy.mvcc.links import link
from etcdpy.mvcc.ranges import RangeResult
from etcdpy.mvcc.revision import REVISION_BYTES, TOMBSTONE_MARK, encode_revision

if TYPE_CHECKING:
    from etcdpy.mvcc.store import Store

_KEY: Final = Bucket.KEY.value
_INDEX: Final = Bucket.INDEX.value


class WriteTxn:
    """One write transaction; `end` closes it. There is one at a time."""

    __slots__ = ("_backend", "_events", "_main", "_observed", "_operations", "_store")

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._backend = store.backend
        self._main = store.revision + 1
        self._events: list[Event] = []
        self._observed = store.observed
        self._operations = 0

    @property
    def revision(self) -> int:
        """The revision of the store as it would be if the transaction ended here."""
        return self._main if self._events else self._main - 1

    @property
    def compact_revision(self) -> int:
        return self._store.compact_revision

    @property
    def has_written(self) -> bool:
        return bool(self._events)

    def checked(self) -> None:
        """What was read so far decided what to do; doing it begins now. The two count separately."""
        self._observed.ended(self._operations)
        self._operations = 0

    def current(self, key: bytes) -> KeyMeta | None:
        self._operations += 1
        return self._store.current(key)

    def get(self, key: bytes) -> bytes | None:
        self._operations += 1
        return self._store.get(key)

    def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        revision: int = 0,
        limit: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
        metas: bool = False,
        keys_max: int = 0,
        bytes_max: int = 0,
    ) -> RangeResult:
        """As Store.range, with the writes so far. An older revision must lie before this transaction."""
        self._operations += 1
        result = self._store.range(
            key,
            range_end,
            revision=revision,
            limit=limit,
            count_only=count_only,
            keys_only=keys_only,
            metas=metas,
            keys_max=keys_max,
            bytes_max=bytes_max,
        )
        result.revision = self.revision
        return result

    def put(self, key: bytes, value: bytes, lease: int = 0) -> None:
        assert key, "a key has at least one byte"
        observed = self._observed
        observed.puts += 1
        observed.put_bytes += len(key) + len(value)
        self._operations += 1
        main = self._main
        backend = self._backend
        revision = encode_revision(main, len(self._events))
        entry = backend.get(_INDEX, key)
        create_revision, version, lease_before, previous, depth = main, 1, 0, None, 1
        if entry is not None:
            depth = link(backend, revision, entry)
            if len(entry) != TOMBSTONE_BYTES:
                create_revision, version = decode_birth(entry)
                version += 1
                if len(entry) != LIVE_BYTES:
                    lease_before = lease_of(entry)
                previous = entry[:REVISION_BYTES]
        data = encode_key_value(key, create_revision, main, version, value, lease)
        backend.put(_KEY, revision, data)
        backend.put(_INDEX, key, encode_entry(revision, create_revision, version, lease, depth))
        if version == 1:
            self._store.counts.add(key)
        if lease != lease_before:
            move_attachment(backend, key, lease_before, lease)
        self._events.append(Event(PUT, key, data, main, previous is None, lease, previous))

    def delete_range(self, key: bytes, range_end: bytes = b"") -> int:
        """Delete the live keys of the range in key order; how many there were."""
        self._observed.deletes += 1
        self._operations += 1
        rows = self._store.live_rows(key, range_end)
        for row_key, entry in rows:
            self._delete(row_key, entry)
        return len(rows)

    def _delete(self, key: bytes, entry: bytes) -> None:
        backend = self._backend
        revision = encode_revision(self._main, len(self._events))
        link(backend, revision, entry)
        backend.put(_KEY, revision + TOMBSTONE_MARK, encode_deleted(key))
        backend.put(_INDEX, key, revision + TOMBSTONE_MARK)
        self._store.counts.remove(key)
        lease = lease_of(entry)
        if lease:
            move_attachment(backend, key, lease, 0)
        data = encode_deleted(key, self._main)
        self._events.append(Event(DELETE, key, data, self._main, False, lease, entry[:17]))

    def end(self) -> list[Event]:
        """Fix the revision. Without a write the store stays at the revision it had."""
        self._observed.ended(self._operations)
        shared = self._store.shared
        if shared.is_used:
            for event in self._events:
                shared.changed(event.key)
        self._store.finish(self, self.revision)
        return self._events
