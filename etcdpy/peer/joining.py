"""How a member without data finds out which cluster it is in, by asking others.

A founder derives the cluster from its flags, and asks only whether the others remember it: then it has lost
its data and may not come back as new. A newcomer asks for the members of the running cluster, compares them
with its flags, and looks whether its own release fits to theirs (peer protocol reference, section 14).
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from etcdpy.cluster.bootstrap import (
    BootstrapError,
    Cluster,
    check_advertised,
    check_local_name,
    check_not_bootstrapped,
    found_cluster,
    join_cluster,
)
from etcdpy.cluster.members import MalformedMember, decode_members
from etcdpy.cluster.urls import Url, format_initial_cluster
from etcdpy.cluster.version import MIN_CLUSTER_VERSION, Version
from etcdpy.peer.calls import ANSWER_BYTES_MAX, parse_version, versions_at
from etcdpy.peer.compatibility import CLUSTER_ID, parse_id
from etcdpy.peer.discovery import find_by_discovery
from etcdpy.peer.srv import DnsResolver, find_by_srv
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.server.config_rules import check_founding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etcdpy.cluster import Member
    from etcdpy.peer.srv import SrvResolver
    from etcdpy.peer.tls import PeerTls
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

FOUNDER_TIMEOUT_S = 1.0
JOIN_TIMEOUT_S = 10.0
# For how long a host name may be unknown: names often come up later than the machines that have them.
RESOLVE_S = 30.0
RESOLVE_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster as one of its members describes it."""

    cluster_id: int
    members: list[Member]


async def find_cluster(
    config: Config, log: Logger, tls: PeerTls | None = None, srv: SrvResolver | None = None
) -> Cluster:
    """The cluster of a member that has no data yet.

    Raises:
        config_kinds.ConfigError: there is no initial cluster.
        BootstrapError: the settings do not fit, to each other or to the cluster.
    """
    if config.discovery_srv:
        found = await find_by_srv(config, log, srv or DnsResolver())
        # Founders derive their first entries from it, as if it had been given.
        config.initial_cluster = format_initial_cluster(found)
        if tls is not None and not config.peer_trusted_ca_file:
            tls.expect_name(config.discovery_srv)
    elif config.discovery_endpoints:
        if config.is_joining:
            raise BootstrapError("discovery URL should not be set when joining existing initial cluster")
        # The ids of the members follow from the token of the registry.
        config.initial_cluster_token = config.discovery_token
        found = await find_by_discovery(config, log)
        config.initial_cluster = format_initial_cluster(found)
    else:
        found = check_founding(config)
    urls = {name: [str(url) for url in listed] for name, listed in found.items()}
    check_local_name(urls, config.name)
    advertised = [str(url) for url in config.initial_advertise_peer_urls]
    connector = aiohttp.TCPConnector(ssl=True if tls is None else tls.dialling)
    async with aiohttp.ClientSession(connector=connector) as session:
        if config.is_joining:
            return await _join(config, session, urls, log)
        await asyncio.to_thread(check_advertised, advertised, urls, config.name, resolve)
        cluster = found_cluster(urls, config.initial_cluster_token, config.name)
        asked = (ask_members(session, member.peer_urls, FOUNDER_TIMEOUT_S) for member in cluster.others)
        for answer in await asyncio.gather(*asked):
            if answer is not None:
                check_not_bootstrapped(cluster.local, answer.members)
        return cluster


async def _join(
    config: Config, session: aiohttp.ClientSession, urls: dict[str, list[str]], log: Logger
) -> Cluster:
    others = sorted(url for name, listed in urls.items() if name != config.name for url in listed)
    running: Running | None = None
    for url in others:
        running = await ask_members(session, [url], JOIN_TIMEOUT_S)
        if running is not None:
            break
        log.warn("failed to get cluster response", address=url + "/members")
    if running is None:
        raise BootstrapError(
            "cannot fetch cluster info from peer urls: "
            "could not retrieve cluster information from the given URLs"
        )
    cluster = await asyncio.to_thread(
        join_cluster, urls, config.name, running.cluster_id, running.members, resolve
    )
    await _check_versions(session, cluster, log)
    if sum(member.is_learner for member in running.members) > config.max_learners:
        raise BootstrapError("membership: too many learner members in cluster")
    return cluster


async def _check_versions(session: aiohttp.ClientSession, cluster: Cluster, log: Logger) -> None:
    """At least one member must tell a cluster version, and all that do one that we can be a member of."""
    local = Version.parse(ETCD_VERSION).cluster_form
    lowest = MIN_CLUSTER_VERSION
    if await _is_downgrading(session, cluster):
        lowest = local = Version(local.major, local.minor + 1)
    answers = await asyncio.gather(*(versions_at(session, member.peer_urls) for member in cluster.others))
    told = 0
    for member, answer in zip(cluster.others, answers, strict=True):
        version = None if answer is None else parse_version(answer.get("etcdcluster"))
        if version is None:
            continue
        told += 1
        if not lowest <= version.cluster_form <= local:
            log.warn("cluster version of a member does not fit", peer=f"{member.id:x}", version=str(version))
            raise BootstrapError("incompatible with current running cluster")
    if not told:
        raise BootstrapError("incompatible with current running cluster")


async def _is_downgrading(session: aiohttp.ClientSession, cluster: Cluster) -> bool:
    for member in cluster.others:
        for url in member.peer_urls:
            text = await _get(session, url + "/downgrade/enabled", FOUNDER_TIMEOUT_S)
            if text is not None and text[1] in (b"true", b"false"):
                return text[1] == b"true"
    return False


async def ask_members(
    session: aiohttp.ClientSession, urls: Iterable[str], timeout_s: float
) -> Running | None:
    """GET /members of one member, None when it does not answer as a member would."""
    for url in urls:
        answer = await _get(session, url + "/members", timeout_s)
        if answer is None or answer[0] is None:
            continue
        try:
            return Running(answer[0], decode_members(answer[1]))
        except MalformedMember:
            continue
    return None


async def _get(session: aiohttp.ClientSession, url: str, timeout_s: float) -> tuple[int | None, bytes] | None:
    """Cluster id (None if there is none) and body of an answer."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with session.get(url, timeout=timeout, allow_redirects=False) as response:
            body = await response.content.read(ANSWER_BYTES_MAX)
            if response.status != 200:
                return None
            return parse_id(response.headers.get(CLUSTER_ID, "")), body
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def resolve(text: str) -> str:
    """The URL with an IP for its host name. Blocks; keeps trying for a while. Raises OSError."""
    url = Url.parse(text)
    if url.is_unix or url.host == "localhost":
        return text
    deadline = time.monotonic() + RESOLVE_S
    while True:
        try:
            found = socket.getaddrinfo(url.host, url.port, proto=socket.IPPROTO_TCP)
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(RESOLVE_PAUSE_S)
        else:
            host = found[0][4][0]
            return (
                f"{url.scheme}://[{host}]:{url.port}"
                if ":" in str(host)
                else f"{url.scheme}://{host}:{url.port}"
            )
