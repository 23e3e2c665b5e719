"""The examples of `docs/client.md` and of the modules, run as they stand, on real etcd and on us."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etcdpy.client import Client, compare, keys, op, prefix

if TYPE_CHECKING:
    from types import ModuleType

    from tests.support.server import Server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"


def test_page(either_server: Server) -> None:
    with Client(either_server.endpoint) as client:
        client.delete(prefix(""))
    parser = doctest.DocTestParser()
    text = PAGE.read_text()
    example = parser.get_doctest(text, {"endpoint": either_server.endpoint}, PAGE.name, str(PAGE), 0)
    result = doctest.DocTestRunner().run(example, clear_globs=False)
    example.globs["client"].close()
    assert (result.failed, result.attempted > 10) == (0, True)


@pytest.mark.parametrize("module", [op, compare, keys], ids=lambda module: module.__name__)
def test_module(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)
