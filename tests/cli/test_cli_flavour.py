"""Compiled or from the sources: who decides, and what it says of itself."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import etcdpy
from etcdpy.flavour import is_compiled

ROOT = Path(__file__).resolve().parents[2]
COMPILED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["etcdpy"]["compiled"]
LEVELS = {"debug", "info", "warn", "error", "fatal"}
SHOW = "import etcdpy.flavour, etcdpy.rpc.grpc as g; print(etcdpy.flavour.is_compiled(), g.__file__)"


def flavour_of_a_process(pure: str) -> tuple[str, str]:
    environment = {**os.environ, "ETCDPY_PURE": pure}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env=environment, cwd="/", capture_output=True, text=True, check=True
    )
    compiled, path = done.stdout.split()
    return compiled, Path(path).suffix


def test_the_environment_prefers_the_sources() -> None:
    assert flavour_of_a_process("1") == ("False", ".py")


def test_a_twin_is_preferred_otherwise() -> None:
    has_twin = any(Path(etcdpy.__path__[0], "http2").glob("engine*.so"))
    compiled, suffix = flavour_of_a_process("0")
    assert compiled == str(has_twin)
    assert (suffix == ".py") is not has_twin


def test_this_process_runs_what_it_was_asked_for() -> None:
    has_twin = any(Path(etcdpy.__path__[0], "http2").glob("engine*.so"))
    assert is_compiled() is (has_twin and os.environ.get("ETCDPY_PURE") == "0")


@pytest.mark.parametrize("pattern", COMPILED)
def test_compiled_modules_exist_and_leave_logging_to_others(pattern: str) -> None:
    """Compiled code has no frame, so the log would name the wrong caller."""
    paths = list((ROOT / "etcdpy").glob(pattern))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in LEVELS:
                assert not names_a_log(node.value), f"{path} logs in line {node.lineno}"


def names_a_log(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"log", "_log"}
