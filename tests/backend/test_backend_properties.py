"""A backend is one ordered map for each bucket, whatever is on disk, being written or still in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from etcdpy.backend import Backend, Bucket
from etcdpy.backend.long_keys import CHUNK

# Keys around the places where a long key is cut, full of the bytes that sort first and last.
_STEMS = [
    b"",
    b"a",
    b"a" * (CHUNK - 1),
    b"a" * CHUNK,
    b"a" * (CHUNK + 1),
    b"a" * (2 * CHUNK),
    b"\x00" * CHUNK,
]
KEYS = st.builds(
    lambda stem, tail, again: (stem + tail * again) or b"\x00",
    st.sampled_from(_STEMS),
    st.text(alphabet="\x00a\x7f", max_size=3).map(lambda text: text.replace("\x7f", "ÿ").encode("latin-1")),
    st.sampled_from([1, 1, 1, CHUNK, 3 * CHUNK]),
)
BUCKETS = st.sampled_from([Bucket.KEY, Bucket.INDEX, Bucket.AUTH_USERS])


# Hundreds of databases are made and synced here; on a busy disk that takes minutes.
MEMORY = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)


class BackendMachine(RuleBasedStateMachine):
    """Writes, flushes and crashes against plain dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory(dir=MEMORY)
        self.finish_job = False
        self.index = 0
        self.flushed_index = 0
        self.model: dict[Bucket, dict[bytes, bytes]] = {bucket: {} for bucket in Bucket}
        self.on_disk = self.copy()
        self.frozen: dict[Bucket, dict[bytes, bytes]] | None = None
        self.reports: list[object] = []
        self.open()

    def copy(self) -> dict[Bucket, dict[bytes, bytes]]:
        return {bucket: dict(rows) for bucket, rows in self.model.items()}

    def open(self) -> None:
        self.backend = Backend.open(
            Path(self.directory.name) / "db", map_bytes=1 << 28, call_soon=self.reports.append
        )

    def teardown(self) -> None:
        self.backend.abandon()
        self.directory.cleanup()

    @rule(bucket=BUCKETS, key=KEYS, value=st.binary(max_size=4))
    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        self.backend.put(bucket, key, value)
        self.model[bucket][key] = value

    @rule(bucket=BUCKETS, key=KEYS)
    def delete(self, bucket: Bucket, key: bytes) -> None:
        self.backend.delete(bucket, key)
        self.model[bucket].pop(key, None)

    @rule(bucket=BUCKETS, data=st.data())
    def delete_present(self, bucket: Bucket, data: st.DataObject) -> None:
        if self.model[bucket]:
            self.delete(bucket, data.draw(st.sampled_from(sorted(self.model[bucket]))))

    @rule()
    def apply(self) -> None:
        self.index += 1
        self.backend.set_consistent(self.index, 7)

    @precondition(lambda self: self.frozen is None)
    @rule()
    def begin_flush(self) -> None:
        """The batch is handed over and stays frozen, on disk or not, until the loop hears of it."""
        self.backend.flush()
        self.frozen = self.copy()
        self.flushed_index = self.index

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def hear_of_flush(self) -> None:
        assert self.backend.is_flushing
        while not self.reports:
            pass
        self.reports.pop()()  # type: ignore[operator]
        assert not self.backend.is_flushing
        self.on_disk, self.frozen = self.frozen, None  # type: ignore[assignment]

    @rule()
    def flush_sync(self) -> None:
        self.backend.flush_sync()
        self.on_disk, self.frozen = self.copy(), None
        self.flushed_index = self.index
        # The report of a flush that was overtaken arrives late, and must not matter.
        while self.reports:
            self.reports.pop()()  # type: ignore[operator]

    @rule()
    def crash(self) -> None:
        self.backend.abandon()
        self.reports.clear()
        self.open()
        if self.frozen is not None:
            self.on_disk, self.frozen = self.frozen, None
        self.model = {bucket: dict(rows) for bucket, rows in self.on_disk.items()}
        self.index = self.flushed_index
        assert self.backend.consistent_index == self.index
        assert self.backend.consistent_term == (7 if self.index else 0)

    @rule(
        bucket=BUCKETS, start=KEYS | st.just(b""), end=KEYS | st.none(), first_rows=st.sampled_from([0, 1, 3])
    )
    def scan(self, bucket: Bucket, start: bytes, end: bytes | None, first_rows: int) -> None:
        rows = self.model[bucket]
        expected = [(key, rows[key]) for key in sorted(rows) if key >= start and (end is None or key < end)]
        found = [row for piece in self.backend.pieces(bucket, start, end, first_rows) for row in piece]
        assert found == expected
        values = [value for piece in self.backend.value_pieces(bucket, start, end) for value in piece]
        assert values == [value for _, value in expected]

    @rule(bucket=BUCKETS, keys=st.lists(KEYS, max_size=5))
    def get(self, bucket: Bucket, keys: list[bytes]) -> None:
        expected = [self.model[bucket].get(key) for key in keys]
        assert [self.backend.get(bucket, key) for key in keys] == expected
        assert self.backend.get_many(bucket, keys) == expected

    @invariant()
    def views_show_the_disk(self) -> None:
        if self.frozen is None:
            with self.backend.view() as view:
                for bucket in (Bucket.INDEX, Bucket.AUTH_USERS):
                    assert list(view.items(bucket)) == sorted(self.on_disk[bucket].items())


TestBackend = BackendMachine.TestCase
TestBackend.settings = settings(derandomize=True, max_examples=60, stateful_step_count=40, deadline=None)


class FloorMachine(RuleBasedStateMachine):
    """`floor` over short keys, with the newest layers hiding older ones."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory(dir=MEMORY)
        self.reports: list[object] = []
        self.backend = Backend.open(
            Path(self.directory.name) / "db", map_bytes=1 << 28, call_soon=self.reports.append
        )
        self.model: dict[bytes, bytes] = {}

    def teardown(self) -> None:
        self.backend.abandon()
        self.directory.cleanup()

    @rule(number=st.integers(0, 15), present=st.booleans())
    def write(self, number: int, present: bool) -> None:
        key = bytes((number,))
        if present:
            self.backend.put(Bucket.HISTORY, key, key)
            self.model[key] = key
        else:
            self.backend.delete(Bucket.HISTORY, key)
            self.model.pop(key, None)

    @rule()
    def flush(self) -> None:
        self.backend.flush_sync()

    @rule()
    def freeze(self) -> None:
        if not self.backend.is_flushing:
            self.backend.flush()

    @rule(start=st.integers(0, 16), end=st.integers(0, 16))
    def floor(self, start: int, end: int) -> None:
        found = self.backend.floor(Bucket.HISTORY, bytes((start,)), bytes((end,)))
        below = [key for key in self.model if start <= key[0] < end]
        assert found == ((max(below), max(below)) if below else None)


TestFloor = FloorMachine.TestCase
TestFloor.settings = settings(derandomize=True, max_examples=60, stateful_step_count=30, deadline=None)
