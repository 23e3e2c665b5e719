"""The installed program itself: that every command can be loaded, what it imports, completion, passwords."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from etcdpy.ctl import ctl, utl
from etcdpy.ctl.completion import completion_script
from tests.support.programs import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etcdpy.ctl.command_line import Command


def leaves(command: Command) -> Iterator[Command]:
    if command.run is not None:
        yield command
    for child in command.commands:
        yield from leaves(child)


@pytest.mark.parametrize("command", list(leaves(ctl.ROOT)), ids=lambda command: command.path)
def test_every_command_is_there(command: Command) -> None:
    cells = (cell.cell_contents for cell in command.run.__closure__)  # type: ignore[union-attr]
    function, module = sorted(cells, key=lambda word: word.startswith("ctl"))
    assert callable(getattr(import_module(f"etcdpy.ctl.{module}"), function))


def test_no_command_loads_what_it_does_not_need() -> None:
    """The start is most of what `etcdpyctl version` costs."""
    code = (
        "import sys; from etcdpy.ctl.ctl import main; code = main(['version']); "
        "sys.stderr.write(' '.join(sorted(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("etcdpyctl version: ")
    loaded = set(done.stderr.split())
    assert not loaded & {"grpc", "google.protobuf", "asyncio", "etcdpy.backend", "etcdpy.ctl.ctl_kv"}


@pytest.mark.parametrize("root", [ctl.ROOT, utl.ROOT], ids=lambda root: root.name)
def test_bash_completes_commands_and_flags(root: Command, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(completion_script(root, "bash"))
    assert complete(script, root.name, "sna") == ["snapshot"]
    assert complete(script, root.name, "snapshot", "st") == ["status"]
    assert "--write-out" in complete(script, root.name, "snapshot", "status", "--w")


def complete(script: Path, *words: str) -> list[str]:
    """What bash proposes for the last word."""
    quoted = " ".join(f"'{word}'" for word in words)
    order = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _{words[0]}_complete; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", order], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts_of_their_own(shell: str) -> None:
    assert "endpoint" in completion_script(ctl.ROOT, shell)


def test_an_unknown_shell_is_refused() -> None:
    done = run("completion", "tcsh")
    assert (done.returncode, done.stdout) == (128, "")
    assert "tcsh" in done.stderr


def test_a_new_password_is_asked_for_twice() -> None:
    first = run("user", "add", "me", stdin="one\ntwo\n")
    assert first.stdout == "Password of me: \nType password of me again for confirmation: \n"
    assert (first.stderr, first.returncode) == ("Error: given passwords are different\n", 128)
    second = run("user", "add", "me", stdin="\n")
    assert (second.stderr, second.returncode) == ("Error: empty password\n", 128)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "etcdpy.ctl.ctl", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=30,
        check=False,
    )
