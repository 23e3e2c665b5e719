"""`etcdpyutl hashkv`: the HashKV that a member with this database would answer, without a member.

HashKV leaves out records that another member may have compacted away already: of those up to the compacted
revision only the ones count that are needed to read at the hashed revision. To tell them, the newest record
of each key is needed, so a file with compacted history is walked through twice, with all its keys in
memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google_crc32c import extend

from etcdpy.backend import NAMES, Backend, Bucket
from etcdpy.ctl.output import Fault, Report, Value, check_format, show
from etcdpy.ctl.utl_database import is_lmdb, open_bolt, rows
from etcdpy.mvcc import Compacted, CorruptStore, FutureRevision, Store
from etcdpy.mvcc.compaction import FINISHED, NOTHING_COMPACTED, SCHEDULED
from etcdpy.mvcc.hash import HashKV
from etcdpy.mvcc.revision import REVISION_BYTES, is_tombstone, main_of
from etcdpy.proto.kv_pb2 import KeyValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy import bolt
    from etcdpy.ctl.command_line import Options

__all__ = ["hash_bolt", "hashkv"]

COMPACTED = "mvcc: required revision has been compacted"
FUTURE_REVISION = "mvcc: required revision is a future revision"


def hashkv(arguments: Sequence[str], options: Options) -> None:
    """Hash the keys of a snapshot, or of a stopped member's database, theirs or ours."""
    if len(arguments) != 1:
        raise Fault(f"accepts 1 arg(s), received {len(arguments)}")
    check_format(options.text("write-out"))
    path, revision = Path(arguments[0]), options.number("rev")
    if is_lmdb(path):
        found = _hash_lmdb(path, revision)
    else:
        with open_bolt(path) as reader:
            found = hash_bolt(reader, revision)
    report = Report(
        (
            Value("hash", str(found.hash), "Hash", "hash", found.hash),
            Value("hash revision", str(found.revision), "Hash revision", "hashRevision", found.revision),
            Value(
                "compact revision",
                str(found.compact_revision),
                "Compact revision",
                "compactRevision",
                found.compact_revision,
            ),
        )
    )
    show(report, options.text("write-out"))


def _hash_lmdb(path: Path, revision: int) -> HashKV:
    backend = Backend.open(path)
    try:
        return Store(backend).hash_kv(revision)
    except Compacted as error:
        raise Fault(COMPACTED) from error
    except FutureRevision as error:
        raise Fault(FUTURE_REVISION) from error
    finally:
        backend.abandon()


def hash_bolt(reader: bolt.Reader, revision: int = 0) -> HashKV:
    """HashKV of a bbolt file; revision 0 is the newest.

    Raises:
        Fault: the revision is compacted or has not happened.
        CorruptStore: a record is none.
    """
    meta = dict(rows(reader, Bucket.META))
    compacted = max(
        (main_of(meta[name]) for name in (SCHEDULED, FINISHED) if name in meta), default=NOTHING_COMPACTED
    )
    if revision and revision < compacted:
        raise Fault(COMPACTED)
    current, newest = _walk(reader, revision, remembers=compacted > 0)
    current = max(current, compacted, 1)
    if revision > current:
        raise Fault(FUTURE_REVISION)
    kept = {record for record in newest.values() if not is_tombstone(record)}
    return HashKV(_hash(reader, revision or current, compacted, kept), compacted, revision or current)


def _walk(reader: bolt.Reader, revision: int, *, remembers: bool) -> tuple[int, dict[bytes, bytes]]:
    """The newest revision, and the newest record of each key up to `revision`."""
    newest: dict[bytes, bytes] = {}
    record = b""
    for record, data in rows(reader, Bucket.KEY):
        if len(record) not in (REVISION_BYTES, REVISION_BYTES + 1):
            raise CorruptStore(f"a key record under {len(record)} bytes")
        if remembers and (not revision or main_of(record) <= revision):
            try:
                newest[KeyValue.FromString(data).key] = record
            except DecodeError as error:
                raise CorruptStore(f"the record at revision {record.hex()} is no key-value") from error
    return main_of(record), newest


def _hash(reader: bolt.Reader, revision: int, compacted: int, kept: set[bytes]) -> int:
    value: int = extend(0, NAMES[Bucket.KEY])
    for record, data in rows(reader, Bucket.KEY):
        main = main_of(record)
        if main > revision:
            break
        if main <= compacted and kept and record not in kept:
            continue
        if main == compacted and is_tombstone(record):
            continue
        value = extend(extend(value, record), data)
    return value
