"""Streams of the server as the commands need them: renewals of a lease, and watches that go on by themselves.

A stream that breaks is opened again at the next endpoint: a renewal has no state, and a watch goes on behind
the last revision it has seen.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

from etcdpy.client import rpcs
from etcdpy.client.errors import EtcdError, error_of_rpc
from etcdpy.client.retry import is_interruption
from etcdpy.client.sides import drive, drive_iterator
from etcdpy.ctl.ctl_session import go_error
from etcdpy.ctl.output import EXIT_BAD_CONNECTION, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

    from etcdpy.client.rpcs import DuplexRpc
    from etcdpy.ctl.ctl_session import Session

    Request = TypeVar("Request", bound=Message)
    Response = TypeVar("Response", bound=Message)

EXPIRED: Final = "etcdserver: requested lease not found"
# A lease is renewed three times in its life, as etcd's client does it.
RENEWALS_PER_TTL: Final = 3
RETRY_SECONDS: Final = 0.5


class Exchange:
    """One stream in both directions; `send` may be called from any thread."""

    def __init__(self, session: Session, rpc: DuplexRpc[Any, Any]) -> None:
        caller = session.caller
        self._caller = caller
        self._endpoint = caller.current
        token = drive(caller.token(caller.deadline(session.settings.dial_timeout)))
        metadata = caller.metadata(token=token, require_leader=True)
        self._stream = drive(session.transport.exchange(self._endpoint, rpc, metadata))

    def send(self, request: Message) -> None:
        """Put a request on the stream."""
        self._stream.send(request)

    def responses(self) -> Iterator[Any]:
        """What the server says. Raises EtcdError; then the next stream goes to the next endpoint."""
        try:
            yield from drive_iterator(self._stream.responses())
        except grpc.RpcError as error:
            self._caller.leave(self._endpoint)
            raise error_of_rpc(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """End it."""
        self._stream.cancel()


@contextmanager
def exchange(
    session: Session, rpc: DuplexRpc[Any, Any], *, require_leader: bool = False
) -> Iterator[Exchange]:
    """A stream that ends with the block."""
    stream = Exchange(session, rpc)
    try:
        yield stream
    finally:
        stream.close()


def renew_once(session: Session, lease: int) -> pb.LeaseKeepAliveResponse:
    """One renewal; a lease that is gone has no time left. Raises Fault."""
    with exchange(session, rpcs.LEASE_KEEP_ALIVE) as stream:
        stream.send(pb.LeaseKeepAliveRequest(ID=lease))
        try:
            found: pb.LeaseKeepAliveResponse = next(stream.responses())
        except EtcdError as error:
            raise Fault(go_error(error), EXIT_BAD_CONNECTION) from error
        return found


def renewals(
    session: Session, lease: int, pause: Callable[[float], object] = time.sleep
) -> Iterator[pb.LeaseKeepAliveResponse]:
    """Renewals until the lease is gone."""
    while True:
        try:
            with exchange(session, rpcs.LEASE_KEEP_ALIVE) as stream:
                responses = stream.responses()
                while True:
                    stream.send(pb.LeaseKeepAliveRequest(ID=lease))
                    response = next(responses)
                    if response.TTL <= 0:
                        return
                    yield response
                    if pause(response.TTL / RENEWALS_PER_TTL):
                        return
        except EtcdError as error:
            if not is_interruption(error):
                raise Fault(go_error(error), EXIT_BAD_CONNECTION) from error
            pause(RETRY_SECONDS)


class KeptLease:
    """A lease that a thread renews until it is closed or lost."""

    def __init__(self, session: Session, seconds: int) -> None:
        self._session = session
        self.lease = session.call(rpcs.LEASE_GRANT, pb.LeaseGrantRequest(TTL=seconds), endless=True).ID
        self.lost = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._renew, daemon=True).start()

    def _renew(self) -> None:
        try:
            for _ in renewals(self._session, self.lease, self._closed.wait):
                pass
        except Fault:
            pass  # as if it had expired: whoever waits for `lost` tells
        if not self._closed.is_set():
            self.lost.set()

    def close(self) -> None:
        """Renew no more."""
        self._closed.set()


class Watch:
    """A watch that is begun again where it stopped. `responses` gives what the server says, but for the word
    that a watch has begun."""

    def __init__(self, session: Session, request: pb.WatchCreateRequest) -> None:
        self._session = session
        self._request = request
        self._stream: Exchange | None = None

    def responses(self) -> Iterator[pb.WatchResponse]:
        """Until the server ends the watch; its last response says why. Raises EtcdError."""
        pending = pb.WatchResponse()
        while True:
            try:
                self._stream = Exchange(self._session, rpcs.WATCH)
                self._stream.send(pb.WatchRequest(create_request=self._request))
                for response in self._stream.responses():
                    if response.created and not response.canceled:
                        continue
                    if response.fragment:
                        pending.events.extend(response.events)
                        continue
                    if pending.events:
                        pending.events.extend(response.events)
                        response.ClearField("events")
                        response.events.extend(pending.events)
                        pending = pb.WatchResponse()
                    if response.events:
                        self._request.start_revision = response.events[-1].kv.mod_revision + 1
                    yield response
                    if response.canceled:
                        return
            except EtcdError as error:
                if not is_interruption(error):
                    raise
                pending = pb.WatchResponse()
                time.sleep(RETRY_SECONDS)

    def request_progress(self) -> None:
        """Ask for a note of the revision that has been reached."""
        if self._stream is not None:
            self._stream.send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def close(self) -> None:
        """End it."""
        if self._stream is not None:
            self._stream.close()
