"""The log in memory: everything since the last compaction, and how far each thing has come.

One list holds saved and unsaved entries alike; `stable` tells where the saved part ends. Before the first
entry sits a position (`before_index`, `before_term`) that came from a snapshot or a compaction, so that the
first entry can be checked like any other. The cursors only move forward, except `stable`, which falls back
when a conflicting tail is cut:

    before <= applied <= applying <= committed <= last        stable <= last

(While a received snapshot waits to be saved, `applied` and `applying` lag behind `before`.)

A snapshot that a leader sent replaces the whole log; it is `pending` until the shell has saved it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from operator import attrgetter

from . import codec
from .errors import LogDiverged
from .messages import Entry, Snapshot

_ENCODED = attrgetter("encoded")
_TYPE = attrgetter("type")  # NORMAL is 0, the others are true


class Log:
    """Entries and cursors. Knows nothing of roles, members or messages."""

    __slots__ = (
        "_entries",
        "applied",
        "applying",
        "before_index",
        "before_term",
        "committed",
        "pending_snapshot",
        "stable",
    )

    def __init__(self, before_index: int, before_term: int, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)
        codec.seal(self._entries)
        self.before_index = before_index
        self.before_term = before_term
        self.committed = self.applying = self.applied = before_index
        self.stable = before_index + len(self._entries)
        self.pending_snapshot: Snapshot | None = None
        for position, entry in enumerate(self._entries, before_index + 1):
            if entry.index != position:
                raise LogDiverged(f"log has entry {entry.index} where {position} belongs")

    # ---- looking

    @property
    def first_index(self) -> int:
        return self.before_index + 1

    @property
    def last_index(self) -> int:
        return self.before_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.before_term

    def term_at(self, index: int) -> int | None:
        """The term of an entry; None if it is compacted away or not there yet. Index 0 has term 0."""
        position = index - self.before_index
        if position == 0:
            return self.before_term
        if 0 < position <= len(self._entries):
            return self._entries[position - 1].term
        return None

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Is a log that ends so at least as complete as ours (paper 5.4.1)?"""
        return last_term > self.last_term or (last_term == self.last_term and last_index >= self.last_index)

    def entries_from(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Entries low..high, cut where their encoded size would pass `bytes_max`, but always at least one."""
        assert self.before_index < low, (self.before_index, low)
        entries = self._entries[low - self.before_index - 1 : max(high - self.before_index, 0)]
        sizes = list(map(len, map(_ENCODED, entries)))
        if sum(sizes) <= bytes_max:
            return entries
        return entries[: max(bisect_right(list(accumulate(sizes)), bytes_max), 1)]

    def unstable_entries(self) -> list[Entry]:
        return self._entries[self.stable - self.before_index :]

    def next_committed(self, bytes_max: int) -> list[Entry]:
        """What is committed and was not handed out yet. A snapshot not yet installed comes first."""
        if self.applying >= self.committed or self.pending_snapshot is not None:
            return []
        return self.entries_from(self.applying + 1, self.committed, bytes_max)

    @property
    def has_next_committed(self) -> bool:
        return self.applying < self.committed and self.pending_snapshot is None

    def has_conf_change(self, low: int, high: int) -> bool:
        """Is there a configuration change among entries low..high, as far as they are still here?"""
        start = max(low - self.before_index - 1, 0)
        return any(map(_TYPE, self._entries[start : max(high - self.before_index, 0)]))

    def unapplied(self) -> Iterable[Entry]:
        """Committed entries that are not yet applied."""
        low = max(self.applied, self.before_index) - self.before_index
        return takewhile(lambda entry: entry.index <= self.committed, self._entries[low:])

    def find_term_at_most(self, index: int, term: int) -> tuple[int, int]:
        """The last position at or below `index` whose term is at most `term`, with its term (0 if it is
        unknown).

        Both sides of a rejected append use it: terms never fall along a log, so everything above that
        position is sure to conflict, and one round trip skips a whole term instead of one entry.
        """
        while index > 0:
            found = self.term_at(index)
            if found is None:
                return index, 0
            if found <= term:
                return index, found
            index -= 1
        return 0, 0

    # ---- growing and cutting

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries right after the last one."""
        assert not entries or entries[0].index == self.last_index + 1, (entries[0].index, self.last_index)
        codec.seal(entries)
        self._entries.extend(entries)

    def maybe_append(self, prev_index: int, prev_term: int, entries: Sequence[Entry]) -> bool:
        """Make the log agree with a leader's after `prev_index`. False if they differ already there."""
        if self.term_at(prev_index) != prev_term:
            return False
        if prev_index == self.last_index:
            self.append(entries)
            return True
        for skip, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                self._cut_from(entry.index)
                self.append(entries[skip:])
                break
        return True

    def _cut_from(self, index: int) -> None:
        # A leader that contradicts what is committed would have to speak of a place before our commit index,
        # and whoever calls us has looked at that.
        assert index > self.committed, (index, self.committed)
        del self._entries[index - self.before_index - 1 :]
        self.stable = min(self.stable, index - 1)

    def restore(self, snapshot: Snapshot) -> None:
        """Forget everything and begin after `snapshot`, which waits to be saved."""
        assert snapshot.index > self.committed, (snapshot.index, self.committed)
        self._entries.clear()
        self.before_index, self.before_term = snapshot.index, snapshot.term
        self.committed = self.stable = snapshot.index
        self.pending_snapshot = snapshot

    def compact_to(self, index: int) -> None:
        """Forget entries up to `index`, keeping its term."""
        assert index <= self.applied, (index, self.applied)
        term = self.term_at(index)
        assert term is not None, (index, self.first_index, self.last_index)
        del self._entries[: index - self.before_index]
        self.before_index, self.before_term = index, term

    # ---- cursors

    def commit_to(self, index: int) -> None:
        if index <= self.committed:
            return
        if index > self.last_index:
            raise LogDiverged(f"{index} is committed but our log ends at {self.last_index}: was data lost?")
        self.committed = index

    def stable_to(self, index: int, term: int) -> None:
        """The entry (index, term) and all before it are on disk.

        If that entry is no longer in the log, it was replaced while it was being written; then what replaced
        it is still to be written and nothing is known. If it is, everything before it is what was written:
        log matching.
        """
        if self.term_at(index) == term and index > self.stable:
            self.stable = index

    def snapshot_saved(self, snapshot: Snapshot) -> None:
        if self.pending_snapshot is snapshot:
            self.pending_snapshot = None

    def applying_to(self, index: int) -> None:
        assert self.applying <= index <= self.committed, (self.applying, index, self.committed)
        self.applying = index

    def applied_to(self, index: int) -> None:
        assert self.applied <= index <= self.applying, (self.applied, index, self.applying)
        self.applied = index
