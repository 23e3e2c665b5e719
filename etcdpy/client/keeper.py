"""A stream that is there as long as it is needed: opened again, elsewhere if need be, whenever it ends.

`StreamKeeper` is the flow that watches and leases share. What is asked for anew on a new stream, and what a
response means, is the business of those who derive from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from etcdpy.client.errors import Closed, EtcdError, error_of_rpc
from etcdpy.client.retry import AUTHENTICATIONS_MAX, asks_for_token, is_interruption

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from etcdpy.client.caller import Caller, Duplex
    from etcdpy.client.retry import Pauses
    from etcdpy.client.rpcs import DuplexRpc
    from etcdpy.client.settings import Endpoint

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")


class StreamKeeper(ABC, Generic[Request, Response]):
    """Keeps one stream open while `has_work`. All hooks are called with `guard` held.

    Args:
        caller: knows the endpoints and the token.
        rpc: what to open.
        name: of the background flow.
    """

    def __init__(self, caller: Caller, rpc: DuplexRpc[Request, Response], name: str) -> None:
        self.caller = caller
        self.guard = caller.transport.guard()
        self.trouble: EtcdError | None = None
        """What ended the last stream, until there is a new one."""
        self._rpc = rpc
        self._name = name
        self._stream: Duplex[Request, Response] | None = None
        self._is_running = False
        self._token = ""
        self._token_is_good = False
        self._refused_tokens = 0

    # Hooks.

    @abstractmethod
    def has_work(self) -> bool:
        """Whether a stream is needed."""

    @abstractmethod
    def opened(self) -> None:
        """There is a new stream: `send` on it what the last one knew."""

    @abstractmethod
    def received(self, response: Response) -> None:
        """Take a response."""

    @abstractmethod
    def failed(self, error: EtcdError) -> None:
        """No stream can be had, for a reason that will not go away: tell everybody, and have no work."""

    # For those who derive from it.

    def start(self) -> None:
        """There is work. Raises Closed."""
        if self.caller.is_closed:
            raise Closed("the client is closed")
        if not self._is_running:
            self._is_running = True
            self.caller.transport.spawn(self._keep(), self._name)

    def send(self, request: Request) -> None:
        """Send on the present stream; without one nothing happens, for `opened` is to come."""
        if self._stream is not None:
            self._stream.send(request)

    def token_works(self) -> None:
        """A request of this stream was granted."""
        self._token_is_good = True
        self._refused_tokens = 0

    @property
    def doubts_token(self) -> bool:
        """Whether the stream's token may be one that the server has forgotten."""
        return bool(self._token) and not self._token_is_good

    def replace_token(self) -> bool:
        """The server has refused the token within the stream: begin another. False if that is no use."""
        if self._stream is None:
            return True  # somebody else on this stream was told the same
        if not self._may_ask_for_token():
            return False
        self._token_refused(self._token)
        self._stream.cancel()
        self._stream = None
        return True

    def stop_if_idle(self) -> None:
        """End the stream unless somebody needs it."""
        if self._stream is not None and not self.has_work():
            self._stream.cancel()

    def close(self) -> None:
        """The client is being closed."""
        with self.guard:
            self.failed(Closed("the client is closed"))
            self.stop_if_idle()

    def _may_ask_for_token(self) -> bool:
        return self.caller.settings.user is not None and self._refused_tokens < AUTHENTICATIONS_MAX

    # The flow.

    async def _keep(self) -> None:
        try:
            await self._keep_streams()
        except BaseException as error:
            # Whoever waits must not wait for a flow that is gone.
            with self.guard:
                self._is_running = False
                self.failed(EtcdError(f"the client's {self._name} flow has ended: {error!r}"))
            raise

    async def _keep_streams(self) -> None:
        pauses = self.caller.pauses()
        while self._goes_on():
            target = self.caller.current
            error = await self._one_stream(target, pauses)
            with self.guard:
                self._stream, self.trouble = None, error
                if not self.has_work():
                    continue
                if error is not None and not self._may_try_again(error):
                    self.failed(error)
                    continue
            if error is None or not asks_for_token(error):
                self.caller.leave(target)
            pause_s = pauses.next_s()
            if pause_s:
                await self.caller.transport.pause(pause_s)

    def _goes_on(self) -> bool:
        with self.guard:
            self._is_running = self.has_work()
            return self._is_running

    async def _one_stream(self, target: Endpoint, pauses: Pauses) -> EtcdError | None:
        """Open a stream and serve it to its end; what ended it, if not the server's own wish."""
        caller, stream = self.caller, None
        try:
            self._token_is_good = not caller.has_token
            self._token = await caller.token(caller.deadline(caller.settings.timeout))
            metadata = caller.metadata(token=self._token, require_leader=caller.settings.require_leader)
            stream = await caller.transport.exchange(target, self._rpc, metadata)
            with self.guard:
                self._stream = stream
                self.opened()
                self.stop_if_idle()
            async for response in stream.responses():
                with self.guard:
                    pauses.reset()
                    self.trouble = None
                    self.received(response)
        except grpc.RpcError as raw:
            error = error_of_rpc(raw)
            if asks_for_token(error):
                self._token_refused(self._token)
            return error
        except EtcdError as found:
            return found
        except ValueError:
            # What grpcio says of a channel that was closed under the call.
            return Closed("the client is closed")
        finally:
            if stream is not None:
                stream.cancel()  # also one that has ended: somebody still waits for our requests to it
        return None

    def _token_refused(self, token: str) -> None:
        self._refused_tokens += 1
        self.caller.forget(token)

    def _may_try_again(self, error: EtcdError) -> bool:
        if isinstance(error, Closed):
            return False
        if asks_for_token(error):
            return self._may_ask_for_token()
        return is_interruption(error)
