"""Stores cross over between real etcd 3.5.1 and etcdpy, as snapshots and directories, in both directions."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.client import Client
from tests.support.programs import durable_etcd_kind
from tests.support.server import Server

from .conftest import Content, Stopped, Utl, content, fill_and_stop, fill_users, save_snapshot, users_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster


def restore_flags(server: Server) -> list[str]:
    peer = f"http://127.0.0.1:{server.peer_port}"
    return [
        f"--data-dir={server.data_directory}",
        f"--initial-cluster=default={peer}",
        f"--initial-advertise-peer-urls={peer}",
    ]


def check_serves(server: Server, expected: Content) -> pb.ResponseHeader:
    """The server starts on what is there, has everything, takes a write, and has that after a restart."""
    with server:
        with Client(server.endpoint) as client:
            assert content(client) == expected
            for member, alarm in expected.alarms:
                client.call(
                    pb.AlarmRequest(
                        action=pb.AlarmRequest.DEACTIVATE,
                        memberID=member,
                        alarm=pb.AlarmType.ValueType(alarm),
                    )
                )
            written = client.put(b"after", b"1").header
            assert written.revision == expected.revision + 1
            hashed = client.hash_kv().hash
        server.restart()
        with Client(server.endpoint) as client:
            assert client.hash_kv().hash == hashed
            members = client.ask(pb.MemberListRequest(), pb.MemberListResponse).members
            assert [list(member.clientURLs) for member in members] == [[f"http://{server.endpoint}"]]
            assert [member.ID for member in members] == [written.member_id]
        assert server.stop() <= 0
    return written


def moved(stopped: Stopped, kind: Kind, directory: Path) -> Server:
    """A server at the addresses of another, which are part of who it is."""
    server = Server(kind, directory)
    server.client_port, server.peer_port = stopped.server.client_port, stopped.server.peer_port
    return server


def test_etcdpy_starts_on_a_snapshot_of_etcd(
    go_member: Stopped, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    server = Server(candidate, tmp_path)
    utl.do("snapshot", "restore", go_member.snapshot, *restore_flags(server))
    written = check_serves(server, go_member.content)
    assert written.cluster_id != go_member.cluster_id


def test_etcd_starts_on_a_snapshot_of_etcdpy(
    our_member: Stopped, reference: Kind, utl: Utl, tmp_path: Path
) -> None:
    server = Server(reference, tmp_path)
    done = utl.theirs("snapshot", "restore", our_member.snapshot, *restore_flags(server))
    assert done.code == 0, done.errors
    check_serves(server, our_member.content)


def test_etcdpy_starts_on_its_own_snapshot(
    our_member: Stopped, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    server = Server(candidate, tmp_path)
    utl.do("snapshot", "restore", our_member.snapshot, *restore_flags(server))
    check_serves(server, our_member.content)


def test_restored_members_have_the_ids_that_etcdutl_gives(
    go_member: Stopped, reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    headers = []
    for kind, run in ((reference, utl.theirs), (candidate, utl.ours)):
        server = Server(kind, tmp_path / kind.name)
        server.peer_port = go_member.server.peer_port
        done = run("snapshot", "restore", go_member.snapshot, *restore_flags(server))
        assert done.code == 0, done.errors
        with server, Client(server.endpoint) as client:
            header = client.ask(pb.StatusRequest(), pb.StatusResponse).header
        headers.append((header.cluster_id, header.member_id, header.revision))
    assert headers[0] == headers[1]


@pytest.mark.parametrize("from_wal_dir", [False, True])
def test_a_go_member_goes_on_as_one_of_etcdpy(
    go_member: Stopped, candidate: Kind, utl: Utl, tmp_path: Path, from_wal_dir: bool
) -> None:
    source, flags = go_member.server.data_directory, []
    before = listing(source)
    if from_wal_dir:
        shutil.copytree(source, tmp_path / "source")
        source = tmp_path / "source"
        (source / "member" / "wal").rename(tmp_path / "log")
        flags = [f"--from-wal-dir={tmp_path / 'log'}"]
    server = moved(go_member, candidate, tmp_path)
    utl.do("import", f"--from={source}", *flags, f"--data-dir={server.data_directory}")
    written = check_serves(server, go_member.content)
    assert (written.member_id, written.cluster_id) == (go_member.member_id, go_member.cluster_id)
    assert listing(go_member.server.data_directory) == before


def test_an_old_go_member_goes_on_as_one_of_etcdpy(candidate: Kind, utl: Utl, tmp_path: Path) -> None:
    """Debian's 3.4, whose database knows no terms."""
    kind = durable_etcd_kind()
    if kind is None:
        pytest.skip("no etcd of the system")
    old = fill_and_stop(kind, tmp_path / "old")
    server = moved(old, candidate, tmp_path)
    utl.do("import", f"--from={old.server.data_directory}", f"--data-dir={server.data_directory}")
    written = check_serves(server, old.content)
    assert (written.member_id, written.cluster_id) == (old.member_id, old.cluster_id)


def test_a_member_of_etcdpy_goes_on_as_one_of_go(
    our_member: Stopped, reference: Kind, utl: Utl, tmp_path: Path
) -> None:
    server = moved(our_member, reference, tmp_path)
    utl.do("export", f"--from={our_member.server.data_directory}", f"--data-dir={server.data_directory}")
    written = check_serves(server, our_member.content)
    assert (written.member_id, written.cluster_id) == (our_member.member_id, our_member.cluster_id)


def test_a_member_goes_over_and_back(
    go_member: Stopped, reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    ours, theirs = moved(go_member, candidate, tmp_path / "1"), moved(go_member, reference, tmp_path / "2")
    utl.do("import", f"--from={go_member.server.data_directory}", f"--data-dir={ours.data_directory}")
    with ours, Client(ours.endpoint) as client:
        member = go_member.member_id
        alarm = pb.AlarmType.NOSPACE
        client.call(pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=member, alarm=alarm))
        for number in range(300):
            client.put(b"over/%d" % number, b"there")
        expected = content(client)
        ours.kill()  # what is in the log only must come along, too
    utl.do("export", f"--from={ours.data_directory}", f"--data-dir={theirs.data_directory}")
    written = check_serves(theirs, expected)
    assert (written.member_id, written.cluster_id) == (go_member.member_id, go_member.cluster_id)


def test_auth_that_is_on_stays_on_with_all_passwords(
    reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    """From real etcd to etcdpy and back, by snapshots; restored by the program of each."""
    snapshot = tmp_path / "0.db"
    with Server(reference, tmp_path / "0") as server, Client(server.endpoint) as client:
        client.put(b"key/1", b"1")
        fill_users(client)
        client.call(pb.AuthEnableRequest())
        save_snapshot(server, snapshot, "--user=root:rootpw")
    for number, (kind, restore) in enumerate(((candidate, utl.ours), (reference, utl.theirs)), 1):
        server = Server(kind, tmp_path / str(number))
        done = restore("snapshot", "restore", snapshot, *restore_flags(server))
        assert done.code == 0, done.errors
        with server, Client(server.endpoint) as client:
            assert "user name is empty" in str(client.outcome(pb.RangeRequest(key=b"key/1")))
            client.log_in("ann", "annpw")
            assert client.range(b"key/1").kvs[0].value == b"1"
            assert "permission denied" in str(client.outcome(pb.PutRequest(key=b"key/1")))
            client.log_in("root", "rootpw")
            assert [name for name, _ in users_of(client)] == ["ann", "nobody", "root"]
            snapshot = tmp_path / f"{number}.db"
            save_snapshot(server, snapshot, "--user=root:rootpw")


def test_a_raised_revision_is_behind_everything_and_compacted(
    go_member: Stopped, candidate: Kind, utl: Utl, tmp_path: Path
) -> None:
    bump = 1_000_000
    server = Server(candidate, tmp_path)
    flags = [f"--bump-revision={bump}", "--mark-compacted"]
    utl.do("snapshot", "restore", go_member.snapshot, *restore_flags(server), *flags)
    expected = go_member.content
    with server:
        with Client(server.endpoint) as client:
            assert client.revision() == expected.revision + bump
            assert list(client.range(b"\0", b"\0").kvs) == expected.keys
            refused = client.outcome(pb.RangeRequest(key=b"big", revision=expected.revision))
            assert "compacted" in str(refused)
        server.restart()
        with Client(server.endpoint) as client:
            assert client.revision() == expected.revision + bump
            assert list(client.range(b"\0", b"\0").kvs) == expected.keys


def test_members_that_run_are_left_alone(reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path) -> None:
    for kind, verb in ((reference, "import"), (candidate, "export")):
        with Server(kind, tmp_path / kind.name) as server:
            target = tmp_path / f"{kind.name}-target"
            done = utl.ours(verb, f"--from={server.data_directory}", f"--data-dir={target}")
            assert (done.code, done.output) == (1, "")
            assert "in use" in done.complaint
            assert not target.exists()


def listing(directory: Path) -> list[tuple[str, int, int]]:
    """Everything in a directory, with sizes and times."""
    paths = sorted(directory.rglob("*"))
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


MANY = 300_000


@pytest.mark.slow
def test_large_snapshots_cross_over(reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path) -> None:
    """300,000 keys with leases, users and an alarm, in both directions."""
    theirs = fill_and_stop(reference, tmp_path / "go", keys=MANY)
    server = Server(candidate, tmp_path / "theirs")
    utl.do("snapshot", "restore", theirs.snapshot, *restore_flags(server))
    check_serves(server, theirs.content)
    ours = fill_and_stop(candidate, tmp_path / "ours", keys=MANY)
    server = Server(reference, tmp_path / "back")
    done = utl.theirs("snapshot", "restore", ours.snapshot, *restore_flags(server))
    assert done.code == 0, done.errors
    check_serves(server, ours.content)
    assert ours.content.hash == theirs.content.hash
