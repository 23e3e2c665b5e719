"""`completion`: a script for a shell that proposes commands and flags, made of the tree of commands.

The script holds the whole tree as a table from a command's words to what may follow, so that the shell needs
no start of Python for a proposal. zsh and fish are given the same table in their own terms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etcdpy.ctl.command_line import Command

SHELLS: Final = ("bash", "zsh", "fish")


def completion_script(root: Command, shell: str) -> str:
    """Raises Fault for a shell we know no script for."""
    if shell == "bash":
        return _bash(root)
    if shell == "zsh":
        return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(root)
    if shell == "fish":
        return _fish(root)
    raise Fault(f"no completion for {shell!r}: known are {', '.join(SHELLS)}", EXIT_BAD_ARGUMENTS)


def shell_of(arguments: Sequence[str]) -> str:
    """The only argument. Raises Fault."""
    if len(arguments) != 1:
        raise Fault(f"completion needs the name of a shell: {', '.join(SHELLS)}", EXIT_BAD_ARGUMENTS)
    return arguments[0]


def _paths(command: Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    yield words, command
    for child in command.commands:
        yield from _paths(child, (*words, child.name))


def _following(root: Command, command: Command) -> list[str]:
    flags = [f"--{flag.name}" for flag in (*command.flags, *root.flags)]
    return [child.name for child in command.commands] + sorted({*flags, "--help"})


def _bash(root: Command) -> str:
    function = f"_{root.name}_complete"
    cases = [
        f"        '{' '.join(words)}') next='{' '.join(_following(root, command))}' ;;"
        for words, command in _paths(root)
    ]
    names = "|".join(sorted({" ".join(words) for words, _ in _paths(root) if words}))
    known = "|".join(f"'{name}'" for name in names.split("|"))
    return "\n".join(
        [
            f"{function}() {{",
            "    local path='' word next='' place",
            "    for ((place = 1; place < COMP_CWORD; place++)); do",
            '        word="${COMP_WORDS[place]}"',
            '        case "${path:+$path }$word" in',
            f'            {known}) path="${{path:+$path }}$word" ;;',
            "        esac",
            "    done",
            '    case "$path" in',
            *cases,
            "    esac",
            '    mapfile -t COMPREPLY < <(compgen -W "$next" -- "${COMP_WORDS[COMP_CWORD]}")',
            "}",
            f"complete -o default -F {function} {root.name}",
            "",
        ]
    )


def _fish(root: Command) -> str:
    lines = []
    for words, command in _paths(root):
        seen = " ".join(f"__fish_seen_subcommand_from {word};" for word in words).replace("; _", "; and _")
        when = seen.rstrip(";") or "__fish_use_subcommand"
        lines += [
            f"complete -c {root.name} -f -n '{when}' -a {child.name} -d {_single(child.short)}"
            for child in command.commands
        ]
        lines += [
            f"complete -c {root.name} -n '{when}' -l {flag.name} -d {_single(flag.help)}"
            for flag in (command.flags if words else ())
        ]
    lines += [f"complete -c {root.name} -l {flag.name} -d {_single(flag.help)}" for flag in root.flags]
    return "\n".join(lines) + "\n"


def _single(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
