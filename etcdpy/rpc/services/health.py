"""grpc.health.v1.Health: whether this server wants to be sent calls. It knows only the server as a whole,
the service "".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from etcdpy.rpc.errors import Code, RpcError
from etcdpy.rpc.router import Kind, Method

if TYPE_CHECKING:
    from etcdpy.rpc.call import Call


class Health:
    """Answers load balancers and probes."""

    def __init__(self) -> None:
        self._is_serving = True
        self._watching: set[Call] = set()

    def methods(self) -> list[Method]:
        """What this service answers."""
        service = "/grpc.health.v1.Health/"
        return [
            Method(service + "Check", Kind.UNARY, self.check),
            Method(service + "Watch", Kind.SERVER_STREAM, self.watch),
        ]

    def set_serving(self, is_serving: bool) -> None:
        """Tell those who watch, if it is news."""
        if is_serving == self._is_serving:
            return
        self._is_serving = is_serving
        for call in tuple(self._watching):
            call.send(self._response())

    def check(self, call: Call, data: bytes) -> None:
        """The present status."""
        if HealthCheckRequest.FromString(data).service:
            raise RpcError(Code.NOT_FOUND, "unknown service")
        call.reply(self._response())

    def watch(self, call: Call, data: bytes) -> None:
        """The present status, and each new one. A service that does not exist may come to exist, so its
        stream stays open.
        """
        if HealthCheckRequest.FromString(data).service:
            unknown = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
            call.send(unknown.SerializeToString())
            return
        self._watching.add(call)
        call.on_cancel = lambda: self._watching.discard(call)
        call.send(self._response())

    def _response(self) -> bytes:
        status = HealthCheckResponse.SERVING if self._is_serving else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status).SerializeToString()
