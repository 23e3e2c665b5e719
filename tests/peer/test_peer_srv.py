"""The initial cluster from SRV records: by a made-up DNS, and by a small real one on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from etcdpy.cluster.bootstrap import BootstrapError
from etcdpy.cluster.urls import Url
from etcdpy.peer.joining import find_cluster
from etcdpy.peer.srv import Address, DnsResolver, LookupFailed, SrvRecord, find_by_srv
from etcdpy.server.config import Config
from etcdpy.server.log import Logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SSL, PLAIN = "_etcd-server-ssl._tcp.example.org", "_etcd-server._tcp.example.org"


class FakeDns:
    """Hosts are `h1` to `h9` with an address each."""

    def __init__(self, **services: list[SrvRecord]) -> None:
        self.records = services

    async def services(self, name: str) -> list[SrvRecord]:
        if name not in self.records:
            raise LookupFailed(f"lookup {name}: no such host")
        return self.records[name]

    async def address(self, host: str, port: int) -> Address:
        host = host.removesuffix(".example.org")
        if not host.startswith("h"):
            raise LookupFailed(f"lookup {host}: no such host")
        return f"192.0.2.{host[1:]}", port


def records(*hosts: str) -> list[SrvRecord]:
    return [SrvRecord(0, 0, f"{host}.example.org.", 2380) for host in hosts]


def found(fake: FakeDns, announced: str = "https://h2:2380", **settings: Any) -> dict[str, tuple[str, ...]]:
    config = Config(
        name="me",
        initial_cluster="",
        discovery_srv="example.org",
        initial_advertise_peer_urls=(Url(announced),),
        **settings,
    )
    urls = asyncio.run(find_by_srv(config, Logger.silent(), fake))
    return {name: tuple(map(str, listed)) for name, listed in urls.items()}


def test_members_are_numbered_and_we_are_who_is_at_our_address() -> None:
    assert found(FakeDns(**{SSL: records("h1", "h2", "h3")})) == {
        "0": ("https://h1.example.org:2380",),
        "me": ("https://h2.example.org:2380",),
        "1": ("https://h3.example.org:2380",),
    }
    plain = found(FakeDns(**{PLAIN: records("h1", "h2")}), "http://h2:2380")
    assert plain == {"0": ("http://h1.example.org:2380",), "me": ("http://h2.example.org:2380",)}


def test_both_services_are_one_cluster() -> None:
    both = FakeDns(**{SSL: records("h2"), PLAIN: records("h3")})
    assert found(both) == {"me": ("https://h2.example.org:2380",), "0": ("http://h3.example.org:2380",)}


def test_a_service_name_is_a_suffix() -> None:
    fake = FakeDns(**{SSL.replace("-ssl", "-ssl-blue"): records("h2")})
    assert list(found(fake, discovery_srv_name="blue")) == ["me"]


def test_records_that_lead_nowhere_are_passed_over() -> None:
    assert list(found(FakeDns(**{SSL: records("nobody", "h2")}))) == ["me"]
    with pytest.raises(BootstrapError, match="records for _etcd-server-ssl lookup nobody: no such host"):
        found(FakeDns(**{SSL: records("nobody")}))


def test_our_own_record_by_the_wrong_scheme() -> None:
    reason = "bootstrap at https://h2.example.org:2380 from DNS for etcd-server-ssl has scheme mismatch"
    with pytest.raises(BootstrapError, match=reason):
        found(FakeDns(**{SSL: records("h2")}), "http://h2:2380")


def test_a_cluster_without_us() -> None:
    with pytest.raises(BootstrapError, match='cannot find local etcd member "me" in SRV records'):
        found(FakeDns(**{SSL: records("h1")}))


def test_no_records_at_all() -> None:
    with pytest.raises(BootstrapError) as failure:
        found(FakeDns())
    assert str(failure.value) == (
        "error setting up initial cluster: "
        f"error querying DNS SRV records for _etcd-server-ssl lookup {SSL}: no such host; "
        f"error querying DNS SRV records for _etcd-server lookup {PLAIN}: no such host"
    )


class DnsServer(asyncio.DatagramProtocol):
    """Answers SRV questions from a table, and that it knows nothing else."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self._table = table

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        name = query.question[0].name
        texts = self._table.get(name.to_text())
        if texts is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "SRV", texts))
        self.transport.sendto(response.to_wire(), address)


@asynccontextmanager
async def dns_server(table: dict[str, list[str]]) -> AsyncIterator[DnsResolver]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: DnsServer(table), local_addr=("127.0.0.1", 0))
    try:
        yield DnsResolver(transport.get_extra_info("sockname"))
    finally:
        transport.close()


def test_three_founders_find_each_other_by_a_dns_server(tmp_path: Path) -> None:
    async def main() -> None:
        ports = [1, 2, 3]  # nobody answers there, as among founders
        table = {f"{PLAIN}.": [f"0 0 {port} localhost." for port in ports]}
        async with dns_server(table) as resolver:
            clusters = [
                await find_cluster(
                    Config(
                        name=f"m{port}",
                        data_dir=tmp_path,
                        initial_cluster="",
                        discovery_srv="example.org",
                        initial_advertise_peer_urls=(Url(f"http://localhost:{port}"),),
                    ),
                    Logger.silent(),
                    srv=resolver,
                )
                for port in ports
            ]
        assert len({cluster.id for cluster in clusters}) == 1
        assert len({cluster.local.id for cluster in clusters}) == 3
        for port, cluster in zip(ports, clusters, strict=True):
            assert cluster.local.name == f"m{port}"
            assert cluster.local.peer_urls == (f"http://localhost:{port}",)

    asyncio.run(main())


def test_a_dns_server_that_knows_nothing() -> None:
    async def main() -> None:
        async with dns_server({}) as resolver:
            with pytest.raises(LookupFailed, match=f"lookup {PLAIN}: no such host"):
                await resolver.services(PLAIN)

    asyncio.run(main())
