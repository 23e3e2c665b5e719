"""The v2 store moves with a member, from Go to us and back."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.server import Server
from tests.support.v2_client import V2Client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.programs import Kind

    from .conftest import Utl

HISTORY = 60


def everything(server: Server) -> list[object]:
    """The tree, and the history from several places on."""
    with server, closing(V2Client(server.endpoint)) as client:
        found: list[object] = [client.keys("GET", "/", recursive="true").body]
        for index in range(3, HISTORY, 7):
            wait = client.wait("/", recursive="true", waitIndex=str(index))
            with closing(wait):
                assert wait.heard()
            found.append(wait.events)
        server.stop()
        return found


def test_the_v2_store_moves_with_a_member(reference: Kind, candidate: Kind, utl: Utl, tmp_path: Path) -> None:
    flags = ["--enable-v2", "--snapshot-count=30"]
    go = Server(reference, tmp_path / "go", flags)
    with go, closing(V2Client(go.endpoint)) as client:
        for number in range(HISTORY):
            client.keys("PUT", f"/dir/{number % 7}", value=str(number), ttl="5000" if number % 3 else "")
        client.keys("DELETE", "/dir/3")
        client.keys("POST", "/queue", value="x")
        go.stop()
    expected = everything(go)

    ours, back = Server(candidate, tmp_path / "ours", flags), Server(reference, tmp_path / "back", flags)
    for server in (ours, back):
        server.client_port, server.peer_port = go.client_port, go.peer_port
    utl.do("import", f"--from={go.data_directory}", f"--data-dir={ours.data_directory}")
    found = everything(ours)
    assert found == expected
    utl.do("export", f"--from={ours.data_directory}", f"--data-dir={back.data_directory}")
    assert everything(back) == found
    refused = utl.ours(
        "export", f"--from={ours.data_directory}", f"--data-dir={tmp_path / 'x'}", "--target-version=3.6"
    )
    assert refused.code != 0
    assert "the v2 store has keys" in refused.errors
