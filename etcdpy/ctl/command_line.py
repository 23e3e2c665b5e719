"""A command line as etcdctl and etcdutl understand it: nested commands, `--flag value`, `-w value`, help
and complaints.

Both are built on cobra and pflag; people and scripts know their help pages and their errors, so both are
written here as those libraries write them. Commands and flags are values; this module parses, checks and
explains, and knows nothing of what a command does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from etcdpy.ctl.go_text import duration_text, parse_duration, parse_int, parse_uint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Command",
    "Flag",
    "HelpWanted",
    "Invocation",
    "Options",
    "Seconds",
    "UsageFault",
    "parse",
    "read_flags",
    "usage_text",
]

TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
SUGGESTION_DISTANCE_MAX: Final = 2


class Seconds(float):
    """A span of time, written as Go writes it: `5s`, `1m30s`."""


Value = str | int | bool | Seconds | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; the default tells its kind. A tuple stands for a list with commas, given once or often."""

    name: str
    default: Value
    help: str
    short: str = ""
    required: bool = False
    unsigned: bool = False

    @property
    def label(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def kind(self) -> str:
        """As help pages call it."""
        match self.default:
            case bool():
                return ""
            case int():
                return "uint" if self.unsigned else "int"
            case Seconds():
                return "duration"
            case str():
                return "string"
            case _:
                return "strings"

    def parse(self, text: str) -> Value:
        """The value that `text` stands for. Raises ValueError with Go's words."""
        match self.default:
            case bool():
                if text not in TRUE | FALSE:
                    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
                return text in TRUE
            case int():
                return parse_uint(text, 0) if self.unsigned else parse_int(text, 0)
            case Seconds():
                return Seconds(parse_duration(text))
            case str():
                return text
            case _:
                return tuple(text.split(",")) if text else ()


@dataclass(frozen=True, slots=True)
class Options:
    """Values of a command's flags, which of them the command line gave, and the line as a whole."""

    values: Mapping[str, Value]
    given: frozenset[str] = frozenset()
    line: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        value = self.values[name]
        assert isinstance(value, str), f"--{name} is {value!r}"
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values[name]
        assert isinstance(value, tuple), f"--{name} is {value!r}"
        return value

    def number(self, name: str) -> int:
        value = self.values[name]
        assert isinstance(value, int), f"--{name} is {value!r}"
        return value

    def seconds(self, name: str) -> float:
        value = self.values[name]
        assert isinstance(value, Seconds), f"--{name} is {value!r}"
        return value

    def is_set(self, name: str) -> bool:
        value = self.values[name]
        assert isinstance(value, bool), f"--{name} is {value!r}"
        return value


@dataclass(frozen=True, slots=True)
class Command:
    """A command: a group of others, or something that runs with arguments and options."""

    name: str
    short: str
    usage: str = ""
    flags: tuple[Flag, ...] = ()
    commands: tuple[Command, ...] = ()
    run: Callable[[Sequence[str], Options], None] | None = None
    parents: tuple[str, ...] = field(default=())

    @property
    def path(self) -> str:
        return " ".join((*self.parents, self.name))

    def child(self, name: str, *, by_prefix: bool = False) -> Command | None:
        """The command of this name, or the only one whose name begins so."""
        for command in self.commands:
            if command.name == name:
                return command
        begun = [command for command in self.commands if by_prefix and command.name.startswith(name)]
        return begun[0] if len(begun) == 1 else None


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command line asks for."""

    command: Command
    arguments: tuple[str, ...]
    options: Options


class HelpWanted(Exception):
    """The command line asks for the usage of a command."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.path)
        self.command = command


class UsageFault(Exception):
    """The command line cannot be understood; the usage of `command` is shown unless it is None."""

    def __init__(self, text: str, command: Command | None, *, hint: str = "") -> None:
        super().__init__(text)
        self.command = command
        self.hint = hint


def parse(root: Command, argv: Sequence[str], *, by_prefix: bool = False) -> Invocation:
    """Find the command, then read its flags. Flags of a group may stand anywhere.

    Args:
        by_prefix: the beginning of a command's name stands for it, if no other begins so.

    Raises:
        HelpWanted, UsageFault: there is nothing to run.
    """
    path, rest = _find(root, list(argv), by_prefix=by_prefix)
    command = path[-1]
    inherited = [flag for group in path[:-1] for flag in group.flags]
    flags = (*command.flags, *inherited, _help_flag(command))
    try:
        words, options = read_flags(flags, rest)
    except ValueError as error:
        raise UsageFault(str(error), command) from None
    if options.is_set("help"):
        raise HelpWanted(command)
    _check_words(root, command, words)
    missing = [f'"{flag.name}"' for flag in command.flags if flag.required and flag.name not in options.given]
    if missing:
        raise UsageFault(f"required flag(s) {', '.join(missing)} not set", command)
    return Invocation(command, tuple(words), Options(options.values, options.given, tuple(argv)))


def read_flags(flags: Sequence[Flag], argv: Sequence[str]) -> tuple[list[str], Options]:
    """The words that are no flags, and the values of all flags. Raises ValueError."""
    values = {flag.name: flag.default for flag in flags}
    given: set[str] = set()
    words: list[str] = []
    waiting = list(argv[::-1])
    while waiting:
        word = waiting.pop()
        if word == "--":
            words += waiting[::-1]
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        flag, text = _read_flag(flags, word, waiting)
        try:
            value = flag.parse(text)
        except ValueError as error:
            raise ValueError(f'invalid argument "{text}" for "{flag.label}" flag: {error}') from None
        before = values[flag.name]
        if isinstance(value, tuple) and isinstance(before, tuple) and flag.name in given:
            value = before + value
        values[flag.name] = value
        given.add(flag.name)
    return words, Options(values, frozenset(given))


def _find(root: Command, argv: list[str], *, by_prefix: bool) -> tuple[list[Command], list[str]]:
    """The command that the words name with the groups above it, and the words and flags that are left."""
    path = [root]
    left: list[str] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if word == "--":
            left.append(word)
            break
        child = path[-1].child(word, by_prefix=by_prefix)
        if word.startswith("-"):
            left.append(word)
            if position < len(argv) and word in _takes_next(path):
                left.append(argv[position])
                position += 1
        elif child is not None:
            path.append(child)
        elif path == [root] and word == "help":
            raise _help_of(root, argv[position:])
        else:
            left.append(word)
            break
    return path, left + argv[position:]


def _takes_next(path: Sequence[Command]) -> set[str]:
    flags = [flag for group in path for flag in group.flags if not isinstance(flag.default, bool)]
    return {form for flag in flags for form in (f"--{flag.name}", f"-{flag.short}")}


def _help_of(root: Command, words: list[str]) -> Exception:
    command = root
    for word in words:
        child = command.child(word)
        if child is None:
            topics = " ".join(f"`{word}`" for word in words)
            return UsageFault(f"Unknown help topic [{topics}]", root)
        command = child
    return HelpWanted(command)


def _read_flag(flags: Sequence[Flag], word: str, waiting: list[str]) -> tuple[Flag, str]:
    """The flag in this word, and its value, which may be the next word."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        flag = next((flag for flag in flags if flag.name == name), None)
        if flag is None:
            raise ValueError(f"unknown flag: --{name}")
        shown = word
    else:
        name, value = word[1], word[2:].removeprefix("=")
        equals = value
        flag = next((flag for flag in flags if flag.short == name), None)
        if flag is None:
            raise ValueError(f"unknown shorthand flag: '{name}' in {word}")
        if isinstance(flag.default, bool) and word[2:3] not in ("", "="):
            waiting.append(f"-{word[2:]}")  # several of one letter each in one word
            return flag, "true"
        shown = f"'{name}' in {word}"
    if equals:
        return flag, value
    if isinstance(flag.default, bool):
        return flag, "true"
    if not waiting:
        raise ValueError(f"flag needs an argument: {shown}")
    return flag, waiting.pop()


def _check_words(root: Command, command: Command, words: list[str]) -> None:
    if command.run is not None:
        return
    if command is root and words:
        hint = f"Run '{root.name} --help' for usage."
        text = f'unknown command "{words[0]}" for "{root.name}"'
        raise UsageFault(text + _suggestions(root, words[0]), None, hint=hint)
    raise HelpWanted(command)


def _suggestions(root: Command, typed: str) -> str:
    """Commands whose names are near to what was typed, in their own order."""
    near = [
        command.name
        for command in root.commands
        if _distance(typed.lower(), command.name.lower()) <= SUGGESTION_DISTANCE_MAX
        or command.name.lower().startswith(typed.lower())
    ]
    return "\n\nDid you mean this?\n" + "".join(f"\t{name}\n" for name in near) if near else ""


def _distance(left: str, right: str) -> int:
    """Levenshtein's: how many letters to add, drop or change."""
    row = list(range(len(right) + 1))
    for i, letter in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != other))
    return row[-1]


def usage_text(root: Command, command: Command) -> str:
    """The help page of a command."""
    lines = ["Usage:", f"  {command.usage or f'{command.path} [command]'}"]
    if command.commands:
        listed = list(command.commands)
        if command is root:
            listed.append(Command("help", "Help about any command"))
        width = max(11, *(len(child.name) for child in listed))
        lines += ["", "Available Commands:"]
        lines += [f"  {child.name:{width}} {child.short}" for child in sorted(listed, key=_name_of)]
    own = (*command.flags, _help_flag(command))
    lines += ["", "Flags:", *_flag_lines(own)]
    if command is not root:
        lines += ["", "Global Flags:", *_flag_lines(root.flags)]
    if command.commands:
        lines += ["", f'Use "{command.path} [command] --help" for more information about a command.']
    return "\n".join(lines) + "\n"


def _name_of(item: Command | Flag) -> str:
    return item.name


def _help_flag(command: Command) -> Flag:
    return Flag("help", False, f"help for {command.name}", short="h")


def _flag_lines(flags: Sequence[Flag]) -> list[str]:
    heads = []
    ordered = sorted(flags, key=_name_of)
    for flag in ordered:
        label = flag.label if flag.short else f"    {flag.label}"
        heads.append(f"  {label} {flag.kind}".rstrip())
    width = max(map(len, heads))
    return [f"{head:{width}}   {_explain(flag)}" for head, flag in zip(heads, ordered, strict=True)]


def _explain(flag: Flag) -> str:
    if not flag.default:
        return flag.help
    match flag.default:
        case str():
            shown = f'"{flag.default}"'
        case tuple():
            shown = f"[{','.join(flag.default)}]"
        case Seconds():
            shown = duration_text(flag.default)
        case _:
            shown = str(flag.default).lower()
    return f"{flag.help} (default {shown})"
