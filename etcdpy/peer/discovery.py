"""Founding members that find each other through another etcd (v3 discovery).

Somebody has written how many members there will be under a token:

    /_etcd/registry/<token>/_config/size     the number
    /_etcd/registry/<token>/members/<id>     name=url,name=url of each member, written by itself

A member writes its own line and waits until there are as many as wanted; the first ones, in the order in
which they came, are the cluster. A registry that does not answer is asked again for as long as it takes, and
what the registry says wrongly ends the start. Calls go over grpcio, which is loaded only for this.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdpy.cluster.bootstrap import BootstrapError, found_cluster
from etcdpy.cluster.ids import format_id
from etcdpy.cluster.urls import BadUrl, parse_initial_cluster
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from etcdpy.cluster.urls import Url
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

REGISTRY = "/_etcd/registry"
RETRY_S_MAX = 64.0
# Between two looks at who has come.
LOOK_S = 0.5


class DiscoveryError(BootstrapError):
    """The registry tells of no cluster that this member could found; the text is etcd's."""


class _Unreachable(Exception):
    """No endpoint has answered; the text is the last failure."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A member that has written its line. `created` orders them."""

    member_id: str
    line: str
    created: int


async def find_by_discovery(config: Config, log: Logger) -> dict[str, tuple[Url, ...]]:
    """URLs of the founding members by name, once all have come.

    Raises:
        DiscoveryError: there is no place for this member, or the registry is not what it should be.
        OSError: a file for TLS cannot be read.
    """
    local = {config.name: [str(url) for url in config.initial_advertise_peer_urls]}
    member_id = format_id(found_cluster(local, config.initial_cluster_token, config.name).local.id)
    line = ",".join(f"{config.name}={url}" for url in config.initial_advertise_peer_urls)
    registry = Registry(config, log)
    try:
        size = await registry.size()
        _check_room(await registry.members(), member_id, size)
        await registry.register(member_id, line)
        log.info("registered with the discovery service", **{"member-id": member_id, "size": size})
        return await _wait_for_all(registry, member_id, size, log)
    finally:
        await registry.close()


async def _wait_for_all(
    registry: Registry, member_id: str, size: int, log: Logger
) -> dict[str, tuple[Url, ...]]:
    known = 0
    while True:
        members = await registry.members()
        _check_room(members, member_id, size)
        if len(members) != known:
            known = len(members)
            log.info("found members by discovery", found=known, needed=max(size - known, 0))
        if known >= size:
            break
        await asyncio.sleep(LOOK_S)
    try:
        return parse_initial_cluster(",".join(one.line for one in members[:size]))
    except BadUrl as error:
        raise DiscoveryError("discovery: invalid peer URL") from error


def _check_room(members: list[Registered], member_id: str, size: int) -> None:
    if len(members) >= size and member_id not in [one.member_id for one in members[:size]]:
        raise DiscoveryError("discovery: cluster is full")


class Registry:
    """The part of another etcd that belongs to one token."""

    def __init__(self, config: Config, log: Logger) -> None:
        self._config = config
        self._log = log
        self._prefix = f"{REGISTRY}/{config.discovery_token}"
        self._channels = [_channel(config, endpoint) for endpoint in config.discovery_endpoints]
        self._metadata: list[tuple[str, str]] = []

    async def size(self) -> int:
        """How many members there will be."""
        kvs = await self._range(pb.RangeRequest(key=f"{self._prefix}/_config/size".encode()))
        if not kvs:
            raise DiscoveryError("discovery: size key not found")
        text = kvs[0].value
        if not text.isdigit() or not int(text):
            raise DiscoveryError("discovery: size key is bad")
        return int(text)

    async def members(self) -> list[Registered]:
        """Who has come so far, in this order."""
        prefix = f"{self._prefix}/members/".encode()
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        kvs = await self._range(pb.RangeRequest(key=prefix, range_end=end))
        members = [
            Registered(
                kv.key.removeprefix(prefix).decode("utf-8", "replace"),
                kv.value.decode("utf-8", "replace"),
                kv.create_revision,
            )
            for kv in kvs
        ]
        return sorted(members, key=lambda one: one.created)

    async def register(self, member_id: str, line: str) -> None:
        """Write our own line."""
        key = f"{self._prefix}/members/{member_id}".encode()
        request = pb.PutRequest(key=key, value=line.encode())
        await self._insist("/etcdserverpb.KV/Put", request, pb.PutResponse)

    async def close(self) -> None:
        """Leave."""
        for channel in self._channels:
            await channel.close()

    async def _range(self, request: pb.RangeRequest) -> list[Any]:
        answer = await self._insist("/etcdserverpb.KV/Range", request, pb.RangeResponse)
        assert isinstance(answer, pb.RangeResponse)
        return list(answer.kvs)

    async def _insist(self, path: str, request: Message, response: type[Message]) -> Message:
        pause_s = 1.0
        while True:
            try:
                if self._config.discovery_user and not self._metadata:
                    await self._log_in()
                return await self._call(path, request, response)
            except _Unreachable as error:
                self._log.warn("the discovery service does not answer", error=str(error), retry_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)

    async def _log_in(self) -> None:
        name, _, password = self._config.discovery_user.partition(":")
        request = pb.AuthenticateRequest(name=name, password=self._config.discovery_password or password)
        answer = await self._call("/etcdserverpb.Auth/Authenticate", request, pb.AuthenticateResponse)
        assert isinstance(answer, pb.AuthenticateResponse)
        self._metadata = [("token", answer.token)]

    async def _call(self, path: str, request: Message, response: type[Message]) -> Message:
        import grpc

        passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        failure = "no endpoints"
        for channel in self._channels:
            ask = channel.unary_unary(
                path,
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )
            try:
                answer: Message = await ask(
                    request, timeout=self._config.discovery_request_timeout_s, metadata=self._metadata
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in passing:
                    raise DiscoveryError(f"failed to ask the discovery service: {error.details()}") from error
                failure = str(error.details())
            else:
                return answer
        raise _Unreachable(failure)


def _channel(config: Config, endpoint: str) -> Any:
    import grpc

    options = [
        # Of the library's times this is the one that bounds an attempt to connect.
        ("grpc.min_reconnect_backoff_ms", int(config.discovery_dial_timeout_s * 1000)),
        ("grpc.keepalive_time_ms", int(config.discovery_keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(config.discovery_keepalive_timeout_s * 1000)),
        ("grpc.enable_http_proxy", 0),
    ]
    scheme, separator, address = endpoint.rpartition("://")
    is_secure = scheme == "https" if separator else not config.discovery_insecure_transport
    if not is_secure:
        return grpc.aio.insecure_channel(address, options)
    ca, key, cert = (
        Path(file).read_bytes() if file else None
        for file in (config.discovery_cacert, config.discovery_key, config.discovery_cert)
    )
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options)
