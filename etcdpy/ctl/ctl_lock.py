"""`lock` and `elect`: both are a queue of keys below one prefix, whose oldest holds the lock, or leads.

Each key ends with the lease of its process, so that a place is given up when the process is gone. Nobody asks
the server's Lock and Election services, so the keys are those of etcdctl and of every client that uses etcd's
recipe, and all of them wait for each other.
"""

from __future__ import annotations

import queue
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from etcdpy.client import rpcs
from etcdpy.client.errors import EtcdError
from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import go_error, open_session
from etcdpy.ctl.ctl_streams import KeptLease, Watch
from etcdpy.ctl.ctl_watch import run_command
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, EXIT_ERROR, Fault
from etcdpy.proto import kv_pb2 as kv
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.ctl_session import Session

SESSION_SECONDS: Final = 60


class Place:
    """One place in the queue below `name`."""

    def __init__(self, session: Session, lease: KeptLease, name: str, value: str = "") -> None:
        self._session = session
        self._prefix = f"{name}/".encode("utf-8", "surrogateescape")
        self.key = self._prefix + f"{lease.lease:x}".encode()
        self._value = value.encode("utf-8", "surrogateescape")
        self._lease = lease.lease
        self.revision = 0
        self.header = pb.ResponseHeader()

    def take(self) -> None:
        """Queue up, and wait until nobody is before us. Raises Fault."""
        absent = pb.Compare(
            key=self.key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0
        )
        put = pb.PutRequest(key=self.key, value=self._value, lease=self._lease)
        response = self._session.call(
            rpcs.TXN,
            pb.TxnRequest(
                compare=[absent],
                success=[pb.RequestOp(request_put=put)],
                failure=[pb.RequestOp(request_range=pb.RangeRequest(key=self.key))],
            ),
            endless=True,
        )
        self.header, self.revision = response.header, response.header.revision
        if not response.succeeded:
            self.revision = response.responses[0].response_range.kvs[0].create_revision
        while (before := self._before()) is not None:
            _await_delete(self._session, before, self.header.revision + 1)
            self.header = self.read().header

    def _before(self) -> bytes | None:
        """The key that is right before ours."""
        request = pb.RangeRequest(
            key=self._prefix,
            range_end=answers.prefix_end(self._prefix),
            max_create_revision=self.revision - 1,
            sort_target=pb.RangeRequest.CREATE,
            sort_order=pb.RangeRequest.DESCEND,
            limit=1,
        )
        response = self._session.call(rpcs.RANGE, request, endless=True)
        if not response.kvs:
            return None
        self.header = response.header
        return response.kvs[0].key

    def read(self) -> pb.RangeResponse:
        """Our key. Raises Fault when it is gone."""
        response = self._session.call(rpcs.RANGE, pb.RangeRequest(key=self.key), endless=True)
        if not response.kvs:
            raise Fault("mutex: session is expired")
        return response

    def leave(self, timeout: float | None = None) -> None:
        """Give the place up."""
        self._session.call(
            rpcs.DELETE_RANGE, pb.DeleteRangeRequest(key=self.key), timeout=timeout, endless=timeout is None
        )


def _await_delete(session: Session, key: bytes, revision: int) -> None:
    watch = Watch(session, pb.WatchCreateRequest(key=key, start_revision=revision))
    try:
        for response in watch.responses():
            if response.canceled:
                raise Fault(response.cancel_reason or "lost watcher waiting for delete")
            if any(event.type == kv.Event.DELETE for event in response.events):
                return
    except EtcdError as error:
        raise Fault(go_error(error)) from error
    finally:
        watch.close()


def _until_signal(work: Callable[[], object]) -> Outcome:
    """Do the work in a thread, and be told of its end or of a signal, whichever is first."""
    found = Outcome()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: found.events.put("signal"))

    def run() -> None:
        try:
            found.result = work()
        except Fault as fault:
            found.fault = fault
        found.events.put("done")

    threading.Thread(target=run, daemon=True).start()
    return found


class Outcome:
    """What happens while a command waits."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.result: Any = None
        self.fault: Fault | None = None

    def wait(self) -> str:
        """`done`, `signal` or `lost`. Raises what the work has raised."""
        # Python runs handlers of signals between two waits only.
        while True:
            try:
                event = self.events.get(timeout=0.1)
            except queue.Empty:
                continue
            if event == "done" and self.fault is not None:
                raise self.fault
            return event

    def watch(self, lease: KeptLease) -> None:
        """Be told when the lease is lost."""

        def wait() -> None:
            lease.lost.wait()
            self.events.put("lost")

        threading.Thread(target=wait, daemon=True).start()


def lock(arguments: Sequence[str], options: Options) -> None:
    """Hold a lock until a command has ended, or until a signal comes."""
    if not arguments:
        text = "lock takes a lock name argument and an optional command to execute"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    session = open_session(options)
    seconds = options.number("ttl")
    lease = KeptLease(session, seconds if seconds > 0 else SESSION_SECONDS)
    place = Place(session, lease, arguments[0])
    outcome = _until_signal(place.take)
    if outcome.wait() == "signal":
        place.leave(session.command_timeout)
        raise Fault("context canceled")
    if len(arguments) > 1:
        about = {"ETCD_LOCK_KEY": place.key.decode("utf-8", "surrogateescape")}
        about["ETCD_LOCK_REV"] = str(place.header.revision)
        code, failure = run_command(arguments[1:], about)
        place.leave(session.command_timeout)
        if failure:
            raise Fault(failure, code or EXIT_ERROR)
        return
    session.show(answers.get(place.read(), session.shape))
    outcome.watch(lease)
    if outcome.wait() == "lost":
        raise Fault("session expired")
    place.leave(session.command_timeout)


def elect(arguments: Sequence[str], options: Options) -> None:
    """Lead until a signal comes, or tell who leads."""
    if len(arguments) not in (1, 2):
        text = "elect takes one election name argument and an optional proposal argument"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    session = open_session(options)
    listen = options.is_set("listen")
    if len(arguments) == 1:
        if not listen:
            raise Fault("no proposal argument but -l not set", EXIT_BAD_ARGUMENTS)
        outcome = _until_signal(lambda: _observe(session, arguments[0]))
        if outcome.wait() == "done":
            raise Fault("elect: observer lost")
        return
    if listen:
        raise Fault("proposal given but -l is set", EXIT_BAD_ARGUMENTS)
    lease = KeptLease(session, SESSION_SECONDS)
    place = Place(session, lease, arguments[0], arguments[1])
    outcome = _until_signal(place.take)
    if outcome.wait() == "signal":
        place.leave()
        raise Fault("context canceled")
    session.show(answers.get(place.read(), session.shape))
    outcome.watch(lease)
    if outcome.wait() == "lost":
        raise Fault("elect: session expired")
    place.leave()


def _observe(session: Session, name: str) -> None:
    """Print each leader's proposal, and the next when it changes."""
    prefix = f"{name}/".encode("utf-8", "surrogateescape")
    end = answers.prefix_end(prefix)
    while True:
        oldest = pb.RangeRequest(
            key=prefix,
            range_end=end,
            sort_target=pb.RangeRequest.CREATE,
            sort_order=pb.RangeRequest.ASCEND,
            limit=1,
        )
        response = session.call(rpcs.RANGE, oldest, endless=True)
        if response.kvs:
            key, revision = response.kvs[0].key, response.header.revision
            _show_leader(session, response.header, response.kvs[0])
        else:
            key, revision = _await_candidate(session, prefix, end, response.header.revision)
        if not _follow_leader(session, key, revision + 1):
            return


def _await_candidate(session: Session, prefix: bytes, end: bytes, revision: int) -> tuple[bytes, int]:
    request = pb.WatchCreateRequest(key=prefix, range_end=end, start_revision=revision)
    watch = Watch(session, request)
    try:
        for response in watch.responses():
            for event in response.events:
                if event.type == kv.Event.PUT:
                    response.header.revision = event.kv.mod_revision
                    _show_leader(session, response.header, event.kv)
                    return event.kv.key, event.kv.mod_revision
    finally:
        watch.close()
    raise Fault("elect: observer lost")


def _follow_leader(session: Session, key: bytes, revision: int) -> bool:
    """Print what the leader proposes until it is gone; False if the watch has ended instead."""
    watch = Watch(session, pb.WatchCreateRequest(key=key, start_revision=revision))
    try:
        for response in watch.responses():
            for event in response.events:
                if event.type == kv.Event.DELETE:
                    return True
                _show_leader(session, response.header, event.kv)
    finally:
        watch.close()
    return False


def _show_leader(session: Session, header: pb.ResponseHeader, found: kv.KeyValue) -> None:
    session.show(answers.get(pb.RangeResponse(header=header, kvs=[found]), session.shape))
