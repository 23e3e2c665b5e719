"""The initial cluster from DNS: `--discovery-srv` names a domain whose SRV records list the peer ports.

`_etcd-server-ssl._tcp` lists those on https, `_etcd-server._tcp` those on http; both make up the cluster.
DNS knows no member names. We are the record that points at an address we announce; the others are numbered,
which is enough, because ids are made of URLs. A record that leads nowhere, or to us by the wrong scheme, is
passed over, and only told when nothing is left.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from etcdpy.cluster.bootstrap import BootstrapError
from etcdpy.cluster.urls import BadUrl, Url, parse_initial_cluster

if TYPE_CHECKING:
    from etcdpy.server.config import Config
    from etcdpy.server.log import Logger

SERVICES = (("https", "etcd-server-ssl"), ("http", "etcd-server"))

Address = tuple[str, int]


class LookupFailed(Exception):
    """DNS does not know, or does not answer; the text says what was asked."""


@dataclass(frozen=True, slots=True, order=True)
class SrvRecord:
    """One record, in the order in which clients of DNS prefer them."""

    priority: int
    weight: int
    target: str
    port: int


class SrvResolver(Protocol):
    """Asks DNS. Both raise `LookupFailed`."""

    async def services(self, name: str) -> list[SrvRecord]:
        """The SRV records of a name."""

    async def address(self, host: str, port: int) -> Address:
        """A host's address."""


class DnsResolver:
    """The servers that the machine is set up to ask, or `server`."""

    def __init__(self, server: Address | None = None) -> None:
        self._server = server

    async def services(self, name: str) -> list[SrvRecord]:
        """The SRV records of a name."""
        import dns.asyncresolver
        import dns.exception
        import dns.resolver
        from dns.rdtypes.IN.SRV import SRV

        try:
            resolver = dns.asyncresolver.Resolver(configure=self._server is None)
            if self._server is not None:
                resolver.nameservers, resolver.port = [self._server[0]], self._server[1]
            answer = await resolver.resolve(name, "SRV", search=True)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            raise LookupFailed(f"lookup {name}: no such host") from None
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"lookup {name}: {error}") from error
        return sorted(
            SrvRecord(one.priority, one.weight, one.target.to_text(), one.port)
            for one in answer
            if isinstance(one, SRV)
        )

    async def address(self, host: str, port: int) -> Address:
        """A host's address, of IPv4 if it has one."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, proto=socket.IPPROTO_TCP)
        except OSError as error:
            raise LookupFailed(f"lookup {host}: {error}") from error
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        return str(found[0][4][0]), port


async def find_by_srv(config: Config, log: Logger, resolver: SrvResolver) -> dict[str, tuple[Url, ...]]:
    """The initial cluster that DNS tells of.

    Raises:
        BootstrapError: DNS tells of none, or of one without us.
    """
    suffix = f"-{config.discovery_srv_name}" if config.discovery_srv_name else ""
    found: list[str] = []
    failures: list[str] = []
    for scheme, service in SERVICES:
        try:
            found += await _members(config, resolver, scheme, service + suffix)
        except LookupFailed as failure:
            failures.append(str(failure))
    reason = "; ".join(failures)
    if failures:
        log.warn("failed to resolve during SRV discovery", error=reason)
    if not found:
        raise BootstrapError(f"error setting up initial cluster: {reason or 'no SRV records'}")
    for node in found:
        log.info("got bootstrap from DNS for etcd-server", node=node)
    try:
        urls_by_name = parse_initial_cluster(",".join(found))
    except BadUrl as error:
        raise BootstrapError(f"error setting up initial cluster: {error}") from error
    if config.name not in urls_by_name:
        raise BootstrapError(
            f'error setting up initial cluster: cannot find local etcd member "{config.name}" in SRV records'
        )
    return urls_by_name


async def _members(config: Config, resolver: SrvResolver, scheme: str, service: str) -> list[str]:
    """`name=url` of each record of a service. Raises `LookupFailed` when there is none."""
    domain = config.discovery_srv
    failure: LookupFailed | None = None
    found: list[str] = []
    strangers = 0
    try:
        ours = {
            await resolver.address(url.host, url.port): url
            for url in config.initial_advertise_peer_urls
            if not url.is_unix
        }
        records = await resolver.services(f"_{service}._tcp.{domain}")
    except LookupFailed as error:
        raise LookupFailed(f"error querying DNS SRV records for _{service} {error}") from error
    for record in records:
        host = record.target.removesuffix(".")
        try:
            announced = ours.get(await resolver.address(host, record.port))
        except LookupFailed as error:
            failure = error
            continue
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{record.port}"
        name = config.name
        if announced is None:
            name = str(strangers)
            strangers += 1
        elif announced.scheme != scheme:
            failure = LookupFailed(
                f"bootstrap at {url} from DNS for {service} has scheme mismatch "
                f"with expected peer {announced}"
            )
            continue
        found.append(f"{name}={url}")
    if not found and failure is not None:
        raise LookupFailed(f"error querying DNS SRV records for _{service} {failure}") from failure
    return found
