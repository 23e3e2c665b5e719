"""The rules of our style that a program can check: sizes, docstrings, and a few habits.

A function has at most 70 lines besides its docstring, a file at most 800. `EXCEPTIONS` lists what is let
off; it may only shrink, so an entry that no longer breaks its rule fails as well.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX, FILE_LINES_MAX = 70, 800
FOLDERS = ("etcdpy", "protos", "tests", "benchmarks")
GENERATED = re.compile(r"_pb2\.pyi?$")
UNNUMBERED = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(\d+\))")
BROAD = {"Exception", "BaseException"}

# "path: complaint", as the test prints it.
EXCEPTIONS: frozenset[str] = frozenset()

SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not GENERATED.search(path.name) and "__pycache__" not in path.parts
)


def complaints(path: Path, text: str) -> Iterator[str]:
    """Everything in one file that breaks a rule."""
    tree = ast.parse(text)
    if text.count("\n") > FILE_LINES_MAX:
        yield f"{text.count(chr(10))} lines"
    if ast.get_docstring(tree) is None and text.strip() and not path.name.startswith("test_"):
        yield "no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = function_lines(node)
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines"
        elif isinstance(node, ast.ExceptHandler) and hides_everything(node):
            yield f"an exception handler in line {node.lineno} hides every error"
        elif path.parts[0] == "etcdpy" and is_print(node):
            yield "calls print"
    for comment in re.findall(r"#.*", text):
        if UNNUMBERED.search(comment):
            yield f"a task without an issue number: {comment}"


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Length from `def` to the end, without the docstring."""
    assert node.end_lineno is not None
    total = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is None or first.end_lineno is None:
        return total
    return total - (first.end_lineno - first.lineno + 1)


def hides_everything(handler: ast.ExceptHandler) -> bool:
    broad = handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in BROAD)
    return broad and all(isinstance(statement, ast.Pass) for statement in handler.body)


def is_print(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_file_is_tidy(path: Path) -> None:
    found = {f"{path}: {complaint}" for complaint in complaints(path, (ROOT / path).read_text())}
    assert found <= EXCEPTIONS, sorted(found - EXCEPTIONS)


def test_exceptions_only_shrink() -> None:
    found = {f"{path}: {one}" for path in SOURCES for one in complaints(path, (ROOT / path).read_text())}
    assert found >= EXCEPTIONS, f"no longer needed: {sorted(EXCEPTIONS - found)}"


def test_each_rule_can_fail() -> None:
    """A rule that finds nothing in its own counter-example is no rule."""
    long_function = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
    untidy = (
        f"{long_function}try:\n    pass\nexcept Exception:\n    pass\nprint(1)  # TO"
        "DO later\n" + "\n" * FILE_LINES_MAX
    )
    assert len(list(complaints(Path("etcdpy/untidy.py"), untidy))) == 6


PAGES = sorted(path.relative_to(ROOT) for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"))
NAMED = re.compile(r"`((?:tests|benchmarks|etcdpy|docs|protos)/[\w./*-]+)")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_a_page_names_is_there(page: Path) -> None:
    """A claim that points to a test which is gone is none."""
    named = set(NAMED.findall((ROOT / page).read_text()))
    assert [name for name in sorted(named) if not list(ROOT.glob(name.rstrip("./")))] == []


def compiled_classes() -> dict[str, tuple[Path, list[str], bool]]:
    """Classes of what is compiled: their file, their bases, and whether they write their constructor out."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["etcdpy"]["compiled"]
    found: dict[str, tuple[Path, list[str], bool]] = {}
    for path in sorted({path for pattern in patterns for path in (ROOT / "etcdpy").glob(pattern)}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base) for base in node.bases]
                methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                found[node.name] = (path.relative_to(ROOT), bases, "__init__" in methods)
    return found


def derives(name: str, of: str, classes: dict[str, tuple[Path, list[str], bool]]) -> bool:
    bases = classes[name][1] if name in classes else []
    return of in bases or any(derives(base, of, classes) for base in bases)


def test_compiled_classes_do_not_inherit_their_constructor() -> None:
    """Compiled by mypyc, instances of one that does are never freed, nor is what they hold. Exceptions and
    protocols are spared.
    """
    classes = compiled_classes()
    leaking = {
        f"{path}: {name}"
        for name, (path, bases, has_constructor) in classes.items()
        if not has_constructor
        and any(base in classes for base in bases)
        and not derives(name, "Exception", classes)
        and "Protocol" not in bases
    }
    assert len(classes) > 100
    assert not leaking
