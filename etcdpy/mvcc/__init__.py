"""Keys with history: revisions, ranges, transactions, compaction, hashes and watches over a backend."""

from etcdpy.mvcc.errors import Compacted, CorruptStore, FutureRevision, MvccError, RangeTooLarge
from etcdpy.mvcc.event import Event, EventType
from etcdpy.mvcc.hash import HashAllJob, HashKV, HashKVJob
from etcdpy.mvcc.key_index import KeyMeta
from etcdpy.mvcc.ranges import RangeResult
from etcdpy.mvcc.revision import Revision
from etcdpy.mvcc.store import Store
from etcdpy.mvcc.txn import WriteTxn
from etcdpy.mvcc.watch import WatchHub

__all__ = [
    "Store",
    "WriteTxn",
    "WatchHub",
    "RangeResult",
    "HashAllJob",
    "HashKV",
    "HashKVJob",
    "KeyMeta",
    "Event",
    "EventType",
    "Revision",
    "MvccError",
    "Compacted",
    "FutureRevision",
    "CorruptStore",
    "RangeTooLarge",
]
