"""The names of `etcdpy.client`: the same for Python and for type checkers, imported only when asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from etcdpy import client


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running this."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split())


def seen_by_type_checkers() -> dict[str, str]:
    tree = ast.parse(Path(client.__file__).read_text())
    return {
        name.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for name in node.names
        if name.asname is not None
    }


def test_type_checkers_see_the_same_names() -> None:
    seen = seen_by_type_checkers()
    assert set(seen) == set(client.__all__)
    for name, module in seen.items():
        found = getattr(client, name)
        assert found is getattr(sys.modules[module], name)
        assert getattr(client, name) is found


def test_every_name_is_told_of() -> None:
    assert set(client.__all__) <= set(dir(client))


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'etcdpy\.client' has no attribute 'Cleint'"):
        client.Cleint  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Cleint'"):
        from etcdpy.client import Cleint  # noqa: F401


def test_importing_costs_nothing() -> None:
    heavy = {"grpc", "google.protobuf", "etcdpy.proto.rpc_pb2", "etcdpy.client.client"}
    assert not loaded_by("import etcdpy.client") & heavy
    assert loaded_by("from etcdpy.client import *") >= heavy


def test_an_exception_brings_no_client() -> None:
    loaded = loaded_by("from etcdpy.client import EtcdError")
    assert "etcdpy.client.errors" in loaded
    assert not loaded & {"etcdpy.client.client", "etcdpy.proto.rpc_pb2"}


def test_the_command_line_brings_what_it_needs() -> None:
    arguments = ["get", "k", "--endpoints=127.0.0.1:1", "--command-timeout=0.1s"]
    code = f"from etcdpy.ctl.ctl import main; main({arguments})"
    loaded = loaded_by(code)
    assert "etcdpy.client.plain" in loaded
    assert not loaded & {
        f"etcdpy.client.{name}" for name in ("client", "op", "contender", "lease", "watch", "aio")
    }
