"""Members that trust only each other: three of etcdpy, and one of real etcd among them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.client import Client
from tests.support.pki import Authority
from tests.support.programs import reference_kind
from tests.support.quorum import MixedCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.pki import Identity
    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def mutual(authority: Authority, identity: Identity) -> tuple[str, ...]:
    return (
        f"--peer-cert-file={identity.cert}",
        f"--peer-key-file={identity.key}",
        f"--peer-trusted-ca-file={authority.ca}",
        "--peer-client-cert-auth",
    )


@contextmanager
def secure_cluster(directory: Path, kinds: Sequence[Kind], *flags: str) -> Iterator[MixedCluster]:
    cluster = MixedCluster(directory, kinds, flags)
    for member in cluster.members:
        member.peer_scheme = "https"
    with cluster:
        yield cluster


def check_it_works(cluster: MixedCluster) -> None:
    """Everybody leads once, is written through, and holds the same."""
    for number, target in enumerate(cluster.members):
        cluster.move_leader(target)
        for member in cluster.members:
            with Client(member.endpoint) as client:
                client.put(b"key-%d" % number, member.name.encode())
    with Client(cluster.members[0].endpoint) as client:
        revision = client.revision()
    cluster.wait_for_revision(revision)
    assert len(cluster.hashes(revision)) == 1


def curl(url: str, *arguments: str) -> int:
    """Exit status."""
    command = ["curl", "-s", "-o", "/dev/null", "--max-time", "10", *arguments, url]
    return subprocess.run(command, check=False, timeout=30).returncode


def test_three_members_over_mutual_tls(candidate: Kind, authority: Authority, tmp_path: Path) -> None:
    identity = authority.member()
    with secure_cluster(tmp_path, [candidate] * 3, *mutual(authority, identity)) as cluster:
        check_it_works(cluster)
        url = cluster.members[0].peer_url + "/version"
        trusting = ("--cacert", str(authority.ca))
        assert curl(url, *trusting, "--cert", str(identity.cert), "--key", str(identity.key)) == 0
        # A stranger.
        assert curl(url, *trusting) != 0
        other = Authority(tmp_path / "other").member()
        assert curl(url, *trusting, "--cert", str(other.cert), "--key", str(other.key)) != 0
        assert curl(url.replace("https", "http")) != 0
        # A member that comes back finds the others, and they it.
        cluster.kill(cluster.members[0])
        cluster.start_member(cluster.members[0])
        check_it_works(cluster)


@pytest.mark.parametrize("go_members", [1, 2])
def test_etcd_and_etcdpy_over_mutual_tls(
    candidate: Kind, authority: Authority, tmp_path: Path, go_members: int
) -> None:
    kinds = [reference_kind()] * go_members + [candidate] * (3 - go_members)
    identity = authority.member("mixed")
    flags = (*mutual(authority, identity), "--peer-cert-allowed-cn=mixed")
    with secure_cluster(tmp_path, kinds, *flags) as cluster:
        check_it_works(cluster)


def test_members_with_certificates_of_their_own_making(candidate: Kind, tmp_path: Path) -> None:
    kinds = [candidate, candidate, reference_kind()]
    with secure_cluster(tmp_path, kinds, "--peer-auto-tls") as cluster:
        assert (tmp_path / cluster.members[0].name / "fixtures" / "peer" / "cert.pem").exists()
        check_it_works(cluster)


def test_a_member_under_another_name_stays_outside(
    candidate: Kind, authority: Authority, tmp_path: Path
) -> None:
    """Its certificate is of the same authority, but the others were told whom to let in."""
    good, wrong = authority.member("good"), authority.member("wrong")
    flags = (*mutual(authority, good), "--peer-cert-allowed-cn=good")
    with secure_cluster(tmp_path, [candidate] * 3, *flags) as cluster:
        odd = cluster.members[2]
        cluster.kill(odd)
        good_flags, cluster.flags = cluster.flags, mutual(authority, wrong)
        cluster.launch(odd)
        refused = "client certificate authentication failed"
        eventually(lambda: refused in cluster.members[0].log_path.read_text())
        with Client(cluster.members[0].endpoint) as client:
            client.put(b"two", b"are enough")
        url = cluster.members[0].peer_url + "/version"
        trusting = ("--cacert", str(authority.ca), "--tls-max", "1.2")
        assert curl(url, *trusting, "--cert", str(wrong.cert), "--key", str(wrong.key)) != 0
        assert curl(url, *trusting, "--cert", str(good.cert), "--key", str(good.key)) == 0
        cluster.kill(odd)
        cluster.flags = good_flags
        cluster.start_member(odd)
        check_it_works(cluster)
