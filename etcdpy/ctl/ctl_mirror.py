"""`make-mirror`: copy keys to another cluster, and go on copying what changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from etcdpy.client import rpcs
from etcdpy.client.errors import TEXT_COMPACTED, EtcdError
from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import Security, go_error, open_session, session_of, user_of
from etcdpy.ctl.ctl_streams import Watch
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, Fault
from etcdpy.proto import kv_pb2 as kv
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.ctl_session import Session

PAGE_KEYS: Final = 1000
REPORT_SECONDS: Final = 30.0


class Mirror:
    """Copies from one cluster to another; `copied` counts keys and changes."""

    def __init__(self, source: Session, target: Session, prefixes: tuple[bytes, bytes], ops_max: int) -> None:
        self._source, self._target = source, target
        self._prefix, self._new_prefix = prefixes
        self._ops_max = max(ops_max, 1)
        self.copied = 0

    @property
    def _range(self) -> tuple[bytes, bytes]:
        return self._prefix or b"\0", answers.prefix_end(self._prefix)

    def _renamed(self, key: bytes) -> bytes:
        return key.replace(self._prefix, self._new_prefix, 1)

    def copy_all(self) -> int:
        """Every key as it is at one revision, which is returned."""
        start, end = self._range
        revision = 0
        while True:
            request = pb.RangeRequest(key=start, range_end=end, limit=PAGE_KEYS, revision=revision)
            response = self._source.call(rpcs.RANGE, request, endless=True)
            revision = revision or response.header.revision
            for found in response.kvs:
                put = pb.PutRequest(key=self._renamed(found.key), value=found.value)
                self._target.call(rpcs.PUT, put, endless=True)
                self.copied += 1
            if not response.more:
                return revision
            start = response.kvs[-1].key + b"\0"

    def follow(self, revision: int) -> None:
        """What changes from a revision on, until the watch ends. Raises Fault."""
        start, end = self._range
        watch = Watch(self._source, pb.WatchCreateRequest(key=start, range_end=end, start_revision=revision))
        try:
            for response in watch.responses():
                if response.canceled:
                    text = TEXT_COMPACTED if response.compact_revision else response.cancel_reason
                    raise Fault(text)
                for operations in self._batches(response.events):
                    self._target.call(rpcs.TXN, pb.TxnRequest(success=operations), endless=True)
        except EtcdError as error:
            raise Fault(go_error(error)) from error

    def _batches(self, events: Iterable[kv.Event]) -> Iterator[list[pb.RequestOp]]:
        """One transaction for each revision, or more if that is too large for one."""
        batch: list[pb.RequestOp] = []
        revision = 0
        for event in events:
            if batch and (event.kv.mod_revision > revision or len(batch) == self._ops_max):
                yield batch
                batch = []
            revision = event.kv.mod_revision
            batch.append(self._operation(event))
            self.copied += 1
        if batch:
            yield batch

    def _operation(self, event: kv.Event) -> pb.RequestOp:
        key = self._renamed(event.kv.key)
        if event.type == kv.Event.DELETE:
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
        return pb.RequestOp(request_put=pb.PutRequest(key=key, value=event.kv.value))


def make_mirror(arguments: Sequence[str], options: Options) -> None:
    """Copy until something fails; tell every half minute how much it was."""
    if len(arguments) != 1:
        raise Fault("make-mirror takes one destination argument", EXIT_BAD_ARGUMENTS)
    source = open_session(options)
    security = Security(
        cert=options.text("dest-cert"),
        key=options.text("dest-key"),
        cacert=options.text("dest-cacert"),
        insecure_transport=options.is_set("dest-insecure-transport"),
    )
    user = user_of(options, "dest-user", "dest-password")
    target = session_of(source.options, (arguments[0],), security, user, source.shape)
    target.authenticate()
    prefix, new = options.text("prefix"), options.text("dest-prefix")
    if options.is_set("no-dest-prefix"):
        if new:
            text = "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one"
            raise Fault(text, EXIT_BAD_ARGUMENTS)
    elif not new:
        new = prefix
    prefixes = (prefix.encode("utf-8", "surrogateescape"), new.encode("utf-8", "surrogateescape"))
    mirror = Mirror(source, target, prefixes, options.number("max-txn-ops"))
    done = threading.Event()
    threading.Thread(target=_report, args=(mirror, done), daemon=True).start()
    try:
        revision = options.number("rev") or mirror.copy_all() + 1
        mirror.follow(revision)
    finally:
        done.set()


def _report(mirror: Mirror, done: threading.Event) -> None:
    while not done.wait(REPORT_SECONDS):
        answers.write(f"{mirror.copied}\n")
