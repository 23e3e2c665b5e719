"""Sessions of real etcdctl get the same output from real etcd and from the candidate.

Each session runs on two fresh servers. The versions of etcdctl are 3.5.1 from the wheel and, where
Debian's package is installed, 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etcdpy.proto import rpc_pb2 as pb
from tests.support.ctl import Follow, Run, Session, Step
from tests.support.programs import etcdctl_programs
from tests.support.server import Server, pair

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

FORMATS = ("simple", "fields", "json", "protobuf")
SORTS = ("CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
ORDERS = ("ASCEND", "DESCEND")

# Written so that no two keys tie in any sort order: versions, values and revisions all differ.
FILL: list[Step] = [
    Run("put fruit/pear 9"),
    Run("put fruit/apple 7"),
    Run("put fruit/fig 8"),
    Run("put fruit/fig 5"),
    Run("put fruit/fig 4"),
    Run("put fruit/pear 3"),
    Run("put other value"),
]

KEYS: list[Step] = [
    *FILL,
    Run("put from-stdin", stdin="value of\nthree\nlines"),
    Run("put empty ''"),
    Run("put --prev-kv other second"),
    Run("put --prev-kv brand-new first"),
    Run("put --ignore-value other"),
    Run("put --ignore-value absent"),
    Run("put --ignore-lease other third"),
    Run("put --ignore-lease absent value"),
    Run("put '' value"),
    Run("put --lease=1234 other value"),
    Run("put -- -dash -value"),
    Run("put ключ значение"),
    Run("get fruit/fig"),
    Run("get absent"),
    Run("get ключ"),
    Run("get ключ --hex"),
    Run("get fruit/fig --print-value-only"),
    Run("get fruit/fig --consistency=s"),
    Run("get --prefix fruit/"),
    Run("get --prefix ''"),
    Run("get --prefix '' --keys-only"),
    Run("get --prefix fruit/ --keys-only"),
    Run("get --prefix fruit/ --count-only -w fields"),
    Run("get --prefix fruit/ --limit=2"),
    Run("get --prefix fruit/ --limit=2 -w json"),
    Run("get --prefix fruit/ --limit=3 -w json"),
    Run("get fruit/apple fruit/pear"),
    Run("get --from-key fruit/fig"),
    Run("get zz aa"),
    *(Run(f"get --prefix fruit/ --rev={revision}") for revision in (1, 2, 4, 6, 7, 100)),
    *(Run(f"get --prefix fruit/ --sort-by={sort} --order={order}") for sort in SORTS for order in ORDERS),
    *(
        Run(f"get --prefix fruit/ --sort-by={sort} --order={order} --limit=1")
        for sort in SORTS
        for order in ORDERS
    ),
    *(Run(f"get --prefix fruit/ --sort-by={sort}") for sort in SORTS),
    Run("get --prefix fruit/ --order=DESCEND --keys-only -w json"),
    *(
        Run(f"get --prefix fruit/ -w {form}", message=pb.RangeResponse if form == "protobuf" else None)
        for form in FORMATS
    ),
    *(Run(f"put k v -w {form}", message=pb.PutResponse if form == "protobuf" else None) for form in FORMATS),
    *(
        Run(f"del k -w {form}", message=pb.DeleteRangeResponse if form == "protobuf" else None)
        for form in FORMATS
    ),
    Run("del fruit/apple --prev-kv"),
    Run("del absent --prev-kv"),
    Run("del --prefix fruit/ --prev-kv -w json"),
    Run("del --from-key o --prev-kv"),
    Run("del ''"),
    Run("get --prefix '' -w json"),
]


def transaction(compares: str, success: str, failure: str) -> str:
    """The three blocks of `etcdctl txn`, each ended by an empty line."""
    return "".join(f"{block}\n\n" if block else "\n" for block in (compares, success, failure))


TRANSACTIONS: list[Step] = [
    Run("put k v"),
    Run("txn -i", stdin=transaction('value("k") = "v"', "put k w", "get k")),
    Run("txn", stdin=transaction('value("k") = "v"', "put k w", "get k")),
    Run("txn", stdin=transaction('mod("k") > "2"', 'put a "1 2"\nget k\ndel k --prev-kv', "get k")),
    Run(
        "txn", stdin=transaction('create("k") = "0"\nversion("a") = "1"', "put k again\nget --prefix ''", "")
    ),
    Run("txn", stdin=transaction('version("k") != "1"', "put k never", "get k\nget a\nget absent")),
    Run("txn", stdin=transaction('value("k") < "z"', "get k --rev=2", "")),
    Run("txn", stdin=transaction("", "put n 1\nput m 2", "")),
    Run("txn", stdin=transaction("", "", "")),
    Run("txn", stdin=transaction("", "put twice 1\nput twice 2", "")),
    Run("txn", stdin=transaction("", "put k 1\ndel k", "")),
    Run("txn", stdin=transaction("", "get k --rev=1000", "")),
    Run("txn -w json", stdin=transaction('value("k") = "again"', "get k\nput k last\ndel n --prev-kv", "")),
    Run("txn -w fields", stdin=transaction('value("k") = "again"', "get k", "get m\nput k first")),
    Run("txn -w protobuf", stdin=transaction("", "get k\nput x y", ""), message=pb.TxnResponse),
    Run("get --prefix '' -w json"),
]

WATCHES: list[Step] = [
    Run("put w/a 1"),
    Run("put w/b 1"),
    Run("put w/a 2"),
    Run("del w/a"),
    Run("put w/a 3"),
    Run("txn", stdin=transaction("", "put w/c 1\ndel w/b\nput w/d 1", "")),
    Run("put w/end end-of-watch"),
    Run("put wz last"),
    Follow("watch --rev=1 --prefix w/", until="end-of-watch"),
    Follow("watch --rev=3 --prev-kv --prefix w/", until="end-of-watch"),
    Follow("watch --rev=1 --prev-kv w/a", until="3"),
    Follow("watch --rev=1 w/b w/f", until="w/d"),
    Follow("watch --rev=1 --prefix ''", until="last"),
    Follow("watch --rev=4 --prefix w/ --prev-kv -w json", until="dy9lbmQ="),
    Follow("watch --rev=8 w/end -w json", until="Events"),
    Follow("watch --rev=8 w/end -w fields", until="Lease"),
    Follow("watch -i", stdin="watch --rev=1 --prefix w/\n", until="end-of-watch"),
    Follow(
        "watch --rev=8 w/end -- sh -c 'echo $ETCD_WATCH_REVISION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'",
        until='"',
    ),
    Run("compaction 6"),
    Run("watch --rev=3 w/a"),
    Run("watch --rev=3 w/a -w json"),
    Follow("watch --rev=7 --prev-kv --prefix w/", until="end-of-watch"),
    Run("watch w/b w/a"),
]

LEASES: list[Step] = [
    Run("lease list"),
    Run("lease grant 600", save_lease=True),
    Run("put l/a 1 --lease={lease}"),
    Run("put l/b 2 --lease={lease}"),
    Run("put l/c 3"),
    Run("get --prefix l/ -w json"),
    Run("get --prefix l/ -w fields"),
    Run("lease list"),
    Run("lease list -w json"),
    Run("lease keep-alive --once {lease}"),
    Run("lease keep-alive --once {lease} -w json"),
    Follow("lease keep-alive {lease}", until="keepalived"),
    Run("lease keep-alive --once 1234"),
    Run("lease timetolive 1234"),
    Run("lease timetolive 1234 --keys -w json"),
    Run("put --ignore-lease l/a 4"),
    Run("put l/b 5"),
    Run("put --ignore-value --lease={lease} l/c"),
    Run("get --prefix l/ -w json"),
    Run("lease revoke {lease}"),
    Run("lease revoke {lease}"),
    Run("get --prefix l/ -w json"),
    Run("put l/a 1 --lease={lease}"),
    Run("lease grant -- -5", save_lease=True),
    Run("lease grant 9000000001"),
    Run("lease revoke zzz"),
    Run("lease grant 600 -w json", members=True),
]

COMPACTION: list[Step] = [
    *FILL,
    Run("compaction 5"),
    Run("compaction 5"),
    Run("compaction 4 --physical"),
    Run("compaction 100"),
    Run("compaction abc"),
    Run("get fruit/fig --rev=4"),
    Run("get fruit/fig --rev=5"),
    Run("get fruit/fig --rev=8"),
    Run("endpoint hashkv"),
    Run("endpoint hashkv --rev=7"),
    Run("endpoint hashkv --rev=8 -w json"),
    Run("compaction 8 --physical"),
    Run("get --prefix ''"),
    Run("put after compaction"),
    Run("endpoint hashkv"),
    Run("endpoint hashkv -w table", members=True),
    Run("endpoint hashkv --rev=9 -w fields"),
    Run("endpoint hashkv --rev=7"),
    Run("endpoint hashkv --rev=99"),
    Run("defrag"),
    Run("get --prefix '' -w json"),
    Run("endpoint hashkv"),
]

MEMBERS: list[Step] = [
    Run("member list", members=True),
    *(Run(f"member list -w {form}", members=True) for form in ("table", "json", "fields")),
    Run("endpoint status", members=True),
    *(Run(f"endpoint status -w {form}", members=True) for form in ("table", "json", "fields")),
    Run("endpoint status --cluster", members=True),
    Run("endpoint health", members=True),
    *(Run(f"endpoint health -w {form}", members=True) for form in ("table", "json")),
    Run("endpoint health --cluster", members=True),
    Run("endpoint hashkv --cluster", members=True),
    Run("alarm list"),
    Run("alarm list -w json"),
    Run("alarm disarm"),
    Run("defrag", members=True),
    Run("defrag --cluster", members=True),
    Run("lock name echo locked"),
    Run("get --prefix name"),
    Run("member add other", members=True),
    Run("member remove 1234"),
    Run("member update 1234 --peer-urls=http://127.0.0.1:1"),
    Run("member promote 1234"),
    Run("move-leader 1234", members=True),
]

AS_ROOT, AS_BOB, AS_CARL = "--user root:rootpw", "--user bob:bobpw", "--user carl:x"

# What root's own role holds is not asked for: 3.5.1 does not tell.
AUTH: list[Step] = [
    Run("auth status"),
    Run("auth status -w json"),
    Run("auth enable"),
    Run("user add root:rootpw"),
    Run("role add root"),
    Run("user grant-role root root"),
    Run("role add reader"),
    Run("role add reader"),
    Run("role add ''"),
    Run("role grant-permission reader read a b"),
    Run("role grant-permission reader read one"),
    Run("role grant-permission --prefix reader readwrite p/"),
    Run("role grant-permission --from-key reader write z"),
    Run("role grant-permission reader nonsense z"),
    Run("role grant-permission absent read z"),
    Run("role get reader"),
    *(Run(f"role get reader -w {form}") for form in ("json", "fields")),
    Run("role get absent"),
    Run("user add bob:bobpw"),
    Run("user add bob:bobpw"),
    Run("user add carl --no-password"),
    Run("user add dave --new-user-password=davepw"),
    Run("user add eve --interactive=false", stdin="evepw\n"),
    Run("user add --interactive=false ''", stdin="x\n"),
    Run("user grant-role bob reader"),
    Run("user grant-role bob reader"),
    Run("user grant-role bob absent"),
    Run("user grant-role absent reader"),
    Run("user get bob"),
    Run("user get bob --detail"),
    *(Run(f"user get bob -w {form}") for form in ("json", "fields")),
    Run("user get absent"),
    Run("user list"),
    *(Run(f"user list -w {form}") for form in ("json", "fields")),
    Run("role list"),
    *(Run(f"role list -w {form}") for form in ("json", "fields")),
    Run("put a 1"),
    Run("put a1 1"),
    Run("auth enable"),
    Run("get a"),
    Run("put a 1"),
    Run(f"{AS_ROOT} auth status"),
    Run(f"{AS_ROOT} auth enable"),
    Run(f"{AS_BOB} get a"),
    Run(f"{AS_BOB} get a b"),
    Run(f"{AS_BOB} get a c"),
    Run(f"{AS_BOB} get one"),
    Run(f"{AS_BOB} put a 1"),
    Run(f"{AS_BOB} put p/1 1"),
    Run(f"{AS_BOB} put --prev-kv p/1 2"),
    Run(f"{AS_BOB} put zz 1"),
    Run(f"{AS_BOB} put --prev-kv zz 1"),
    Run(f"{AS_BOB} get zz"),
    Run(f"{AS_BOB} del zz"),
    Run(f"{AS_BOB} del --prev-kv zz"),
    Run(f"{AS_BOB} del --prefix p/"),
    Run(f"{AS_BOB} del --prefix ''"),
    Run("--user bob --password bobpw get a"),
    Run("--user bob:bad get a"),
    Run("--user nobody:x get a"),
    Run(f"{AS_CARL} get a"),
    Run(f"{AS_BOB} txn", stdin=transaction('value("a") = "1"', "get a\nput p/2 1", "")),
    Run(f"{AS_BOB} txn", stdin=transaction('value("q") = "1"', "get a", "")),
    Run(f"{AS_BOB} txn", stdin=transaction("", "get a", "put a 1")),
    Run(f"{AS_BOB} user get bob"),
    Run(f"{AS_BOB} user get root"),
    Run(f"{AS_BOB} user list"),
    Run(f"{AS_BOB} user passwd bob --interactive=false", stdin="x\n"),
    Run(f"{AS_BOB} role get reader"),
    Run(f"{AS_BOB} role get root"),
    Run(f"{AS_BOB} role list"),
    Run(f"{AS_BOB} auth disable"),
    Run(f"{AS_BOB} watch q"),
    Run(f"{AS_BOB} watch a c"),
    Follow(f"{AS_BOB} watch --rev=1 a b", until="a1"),
    Run(f"{AS_BOB} endpoint health", members=True),
    Run(f"{AS_ROOT} endpoint health", members=True),
    Run("endpoint health", members=True),
    Run(f"{AS_BOB} member list", members=True),
    Run(f"{AS_BOB} member remove 1234"),
    Run(f"{AS_ROOT} member remove 1234"),
    Run(f"{AS_ROOT} lease grant 600", save_lease=True),
    Run(f"{AS_ROOT} put --lease={{lease}} q 1"),
    Run(f"{AS_BOB} put --lease={{lease}} p/3 1"),
    Run(f"{AS_BOB} lease revoke {{lease}}"),
    Run(f"{AS_ROOT} lease revoke {{lease}}"),
    Run(f"{AS_ROOT} user delete root"),
    Run(f"{AS_ROOT} role delete root"),
    Run(f"{AS_ROOT} user revoke-role root root"),
    Run(f"{AS_ROOT} user passwd bob --interactive=false", stdin="new\n"),
    Run(f"{AS_BOB} get a"),
    Run("--user bob:new get a"),
    Run(f"{AS_ROOT} role revoke-permission reader a b"),
    Run(f"{AS_ROOT} role revoke-permission reader a b"),
    Run(f"{AS_ROOT} role revoke-permission --prefix reader p/"),
    Run("--user bob:new get a"),
    Run(f"{AS_ROOT} user revoke-role bob reader"),
    Run(f"{AS_ROOT} user revoke-role bob reader"),
    Run(f"{AS_ROOT} user delete bob"),
    Run(f"{AS_ROOT} user delete bob"),
    Run("--user bob:new get a"),
    Run(f"{AS_ROOT} role delete reader"),
    Run(f"{AS_ROOT} role delete reader"),
    Run(f"{AS_ROOT} compaction 2"),
    Run(f"{AS_ROOT} auth disable"),
    Run("auth disable"),
    Run("auth status"),
    Run("get a"),
]

SESSIONS: dict[str, list[Step]] = {
    "keys": KEYS,
    "transactions": TRANSACTIONS,
    "watches": WATCHES,
    "leases": LEASES,
    "compaction": COMPACTION,
    "members": MEMBERS,
    "auth": AUTH,
}


RUNS = [
    # The session of auth is the longest; that 3.4 prints the same is looked at by the slow run.
    pytest.param(name, version, marks=[pytest.mark.slow] if (name, version) == ("auth", "3.4") else [])
    for name in SESSIONS
    for version in ("3.5", "3.4")
]


@pytest.mark.parametrize(("name", "version"), RUNS)
def test_session_prints_the_same(
    reference: Kind, candidate: Kind, tmp_path: Path, name: str, version: str
) -> None:
    program = etcdctl_programs().get(version)
    if program is None:
        pytest.skip(f"no etcdctl {version} on this machine")
    with pair(reference, candidate, tmp_path, ("--bcrypt-cost=4",)) as servers:
        left, right = (Session(program, server) for server in servers)
        for number, step in enumerate(SESSIONS[name], 1):
            expected, printed = left.play(step), right.play(step)
            assert printed == expected, f"step {number}: etcdctl {step.line}"


@pytest.mark.parametrize("version", ["3.5", "3.4"])
def test_time_to_live_names_the_keys(either_server: Server, version: str) -> None:
    """Remaining seconds are a matter of time, so this one answer is read rather than compared."""
    program = etcdctl_programs().get(version)
    if program is None:
        pytest.skip(f"no etcdctl {version} on this machine")
    session = Session(program, either_server)
    session.play(Run("lease grant 600", save_lease=True))
    session.play(Run("put ttl/b 1 --lease={lease}"))
    session.play(Run("put ttl/a 1 --lease={lease}"))
    plain, with_keys = (session.play(Run("lease timetolive {lease}" + more)) for more in ("", " --keys"))
    for printed in (plain, with_keys):
        assert printed.startswith("lease (lease) granted with TTL(600s), remaining(")
        assert 580 <= int(printed.partition("remaining(")[2].partition("s)")[0]) <= 600
    keys = with_keys.partition("attached keys([")[2].partition("])")[0]
    assert sorted(keys.split()) == ["ttl/a", "ttl/b"]
    assert session.play(Run("lease revoke {lease}")).startswith("lease (lease) revoked\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_check_perf_passes(either_server: Server) -> None:
    """etcdctl's own opinion on throughput and latency; it takes a minute."""
    session = Session(etcdctl_programs()["3.5"], either_server)
    printed = session.play(Run("check perf --load=s", seconds_max=150))
    assert "FAIL" not in printed
    assert "PASS\n" in printed
