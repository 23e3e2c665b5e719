"""`/health`, `/livez` and `/readyz` of a learner and of a member without a leader.

`/health` is compared with real etcd 3.5.1, which has no other pages; those are 3.6's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.quorum import MixedCluster, eventually
from tests.support.scrape import Page, fetch, scrape

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

pytestmark = pytest.mark.cluster

FLAGS = ("--election-timeout=200", "--heartbeat-interval=20", "--strict-reconfig-check=false")
NOT_FOR_LEARNERS = "[-]non_learner failed: not supported for learner\n"
HEALTH = ("/health", "/health?serializable=true", "/health?exclude=NOSPACE")
LIVEZ = ("/livez", "/livez?verbose", "/livez/serializable_read")
READY_ALONE = ("/readyz/serializable_read", "/readyz/data_corruption")


def told(endpoint: str, *paths: str) -> list[tuple[int, str]]:
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda path: fetch(endpoint, path), paths))
    return [(page.status, page.text) for page in pages]


def lines(page: Page) -> set[str]:
    return set(page.text.splitlines())


def check_learner(endpoint: str) -> None:
    """It lives and reads, and is not to be sent clients."""
    assert told(endpoint, *LIVEZ) == [(200, "ok\n"), (200, "[+]serializable_read ok\nok\n"), (200, "ok\n")]
    assert told(endpoint, *READY_ALONE, "/readyz/linearizable_read") == [(200, "ok\n")] * 3
    page = fetch(endpoint, "/readyz")
    assert (page.status, page.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    ready = {f"[+]{name} ok" for name in ("serializable_read", "data_corruption", "linearizable_read")}
    assert lines(page) == {*ready, NOT_FOR_LEARNERS.strip(), ""}
    assert told(endpoint, "/readyz/non_learner") == [(503, f"{NOT_FOR_LEARNERS}\n")]
    assert told(endpoint, "/readyz?exclude=non_learner") == [(200, "ok\n")]
    verbose = fetch(endpoint, "/readyz?exclude=non_learner&verbose")
    assert (verbose.status, lines(verbose)) == (200, {*ready, "ok"})
    runs = scrape(endpoint)
    non_learner = {"type": "readyz", "name": "non_learner"}
    assert runs.value("etcd_server_healthcheck", **non_learner) == 0
    assert runs.value("etcd_server_healthchecks_total", status="error", **non_learner) == 2
    assert runs.value("etcd_server_healthcheck", type="readyz", name="linearizable_read") == 1


def check_without_leader(endpoint: str) -> None:
    """It lives, but cannot tell what is true now. That takes it the request timeout to find out."""
    assert told(endpoint, *LIVEZ) == [(200, "ok\n"), (200, "[+]serializable_read ok\nok\n"), (200, "ok\n")]
    assert told(endpoint, *READY_ALONE, "/readyz/non_learner") == [(200, "ok\n")] * 3
    assert told(endpoint, "/readyz?exclude=linearizable_read") == [(200, "ok\n")]
    failed = "[-]linearizable_read failed: etcdserver: request timed out\n"
    page = fetch(endpoint, "/readyz")
    assert page.status == 503
    assert lines(page) == {
        failed.strip(),
        *(f"[+]{name} ok" for name in ("serializable_read", "data_corruption", "non_learner")),
        "",
    }


def health_of(kind: Kind, directory: Path) -> list[list[tuple[int, str]]]:
    """Of a learner, and of a voter that has lost the other one; on the way, what only 3.6 has."""
    with MixedCluster(directory / kind.name, [kind] * 2, FLAGS) as cluster:
        learner = cluster.new_member("learner", kind)
        cluster.join(learner, learner=True)
        eventually(lambda: fetch(learner.endpoint, "/health").status == 200)
        found = [told(learner.endpoint, *HEALTH)]
        if kind.name == "etcdpy":
            check_learner(learner.endpoint)
        leader = cluster.leader()
        other = next(member for member in cluster.members if member not in (leader, learner))
        cluster.kill(other)
        eventually(lambda: "RAFT NO LEADER" in fetch(leader.endpoint, "/health").text)
        found.append(told(leader.endpoint, *HEALTH))
        if kind.name == "etcdpy":
            check_without_leader(leader.endpoint)
        return found


@pytest.mark.slow
def test_health_of_learners_and_without_a_leader(reference: Kind, candidate: Kind, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(lambda kind: health_of(kind, tmp_path), (reference, candidate))
    assert ours[0] == theirs[0]
    assert [status for status, _ in ours[0]] == [200, 200, 200]
    # 3.5.1 asks for a leader even then.
    assert (ours[1].pop(1)[0], theirs[1].pop(1)[0]) == (200, 503)
    assert ours[1] == theirs[1]
    assert [status for status, _ in ours[1]] == [503, 503]
