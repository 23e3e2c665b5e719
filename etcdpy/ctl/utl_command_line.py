"""A command line as etcdutl understands it: nested commands, `--flag value`, `-w value`, help and
complaints.

etcdutl is built on cobra and pflag; people and scripts know its help pages and its errors, so both are
written here as those libraries write them. Commands and flags are values; this module parses, checks and
explains, and knows nothing of what a command does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Command", "Flag", "HelpWanted", "Invocation", "Options", "UsageFault", "parse", "usage_text"]

TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
UINT_MAX: Final = 2**64 - 1
INT_MAX: Final = 2**63 - 1
KINDS: Final = {str: "string", int: "int", bool: ""}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; the default tells its kind."""

    name: str
    default: str | int | bool
    help: str
    short: str = ""
    required: bool = False
    unsigned: bool = False

    @property
    def label(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def parse(self, text: str) -> str | int | bool:
        """The value that `text` stands for."""
        if isinstance(self.default, bool):
            if text not in TRUE | FALSE:
                raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            return text in TRUE
        if isinstance(self.default, int):
            return self._parse_number(text)
        return text

    def _parse_number(self, text: str) -> int:
        function = "ParseUint" if self.unsigned else "ParseInt"
        try:
            number = int(text, 0)
        except ValueError:
            number = -1 if self.unsigned else INT_MAX + 1
            reason = "invalid syntax"
        else:
            reason = "invalid syntax" if self.unsigned and number < 0 else "value out of range"
        lowest, highest = (0, UINT_MAX) if self.unsigned else (-INT_MAX - 1, INT_MAX)
        if not lowest <= number <= highest:
            raise ValueError(f'strconv.{function}: parsing "{text}": {reason}')
        return number


@dataclass(frozen=True, slots=True)
class Options:
    """Values of a command's flags."""

    values: Mapping[str, str | int | bool]

    def text(self, name: str) -> str:
        value = self.values[name]
        assert isinstance(value, str), f"--{name} is {value!r}"
        return value

    def number(self, name: str) -> int:
        value = self.values[name]
        assert isinstance(value, int), f"--{name} is {value!r}"
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

    def child(self, name: str) -> Command | None:
        return next((command for command in self.commands if command.name == name), None)


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


def parse(root: Command, argv: Sequence[str]) -> Invocation:
    """Find the command, then read its flags. Flags of `root` may stand anywhere.

    Raises:
        HelpWanted, UsageFault: there is nothing to run.
    """
    command, rest = _find(root, list(argv))
    flags = (*command.flags, *(() if command is root else root.flags), _help_flag(command))
    values: dict[str, str | int | bool] = {flag.name: flag.default for flag in flags}
    given: set[str] = set()
    words: list[str] = []
    waiting = rest[::-1]
    while waiting:
        word = waiting.pop()
        if word == "--":
            words += waiting[::-1]
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        flag, value = _read_flag(command, flags, word, waiting)
        given.add(flag.name)
        try:
            values[flag.name] = flag.parse(value)
        except ValueError as error:
            text = f'invalid argument "{value}" for "{flag.label}" flag: {error}'
            raise UsageFault(text, command) from None
    if values.pop("help") is True:
        raise HelpWanted(command)
    _check_words(root, command, words)
    missing = [f'"{flag.name}"' for flag in command.flags if flag.required and flag.name not in given]
    if missing:
        raise UsageFault(f"required flag(s) {', '.join(missing)} not set", command)
    return Invocation(command, tuple(words), Options(values))


def _find(root: Command, argv: list[str]) -> tuple[Command, list[str]]:
    """The command that the words name, and the words and flags that are left."""
    command = root
    left: list[str] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if word == "--":
            left.append(word)
            break
        child = command.child(word)
        if word.startswith("-"):
            left.append(word)
            if position < len(argv) and word in _takes_next(root):
                left.append(argv[position])
                position += 1
        elif child is not None:
            command = child
        elif command is root and word == "help":
            raise _help_of(root, argv[position:])
        else:
            left.append(word)
            break
    return command, left + argv[position:]


def _takes_next(root: Command) -> set[str]:
    return {form for flag in root.flags for form in (f"--{flag.name}", f"-{flag.short}")}


def _help_of(root: Command, words: list[str]) -> Exception:
    command = root
    for word in words:
        child = command.child(word)
        if child is None:
            topics = " ".join(f"`{word}`" for word in words)
            return UsageFault(f"Unknown help topic [{topics}]", root)
        command = child
    return HelpWanted(command)


def _read_flag(command: Command, flags: Sequence[Flag], word: str, waiting: list[str]) -> tuple[Flag, str]:
    """The flag in this word, and its value, which may be the next word."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        flag = next((flag for flag in flags if flag.name == name), None)
        if flag is None:
            raise UsageFault(f"unknown flag: --{name}", command)
        shown = word
    else:
        name, value = word[1], word[2:].removeprefix("=")
        equals = value
        flag = next((flag for flag in flags if flag.short == name), None)
        if flag is None:
            raise UsageFault(f"unknown shorthand flag: '{name}' in {word}", command)
        shown = f"'{name}' in {word}"
    if equals:
        return flag, value
    if isinstance(flag.default, bool):
        return flag, "true"
    if not waiting:
        raise UsageFault(f"flag needs an argument: {shown}", command)
    return flag, waiting.pop()


def _check_words(root: Command, command: Command, words: list[str]) -> None:
    if command.run is not None:
        return
    if command is root and words:
        hint = f"Run '{root.name} --help' for usage."
        raise UsageFault(f'unknown command "{words[0]}" for "{root.name}"', None, hint=hint)
    raise HelpWanted(command)


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
        kind = "uint" if flag.unsigned else KINDS[type(flag.default)]
        heads.append(f"  {label} {kind}".rstrip())
    width = max(map(len, heads))
    return [f"{head:{width}}   {_explain(flag)}" for head, flag in zip(heads, ordered, strict=True)]


def _explain(flag: Flag) -> str:
    if not flag.default:
        return flag.help
    shown = f'"{flag.default}"' if isinstance(flag.default, str) else str(flag.default).lower()
    return f"{flag.help} (default {shown})"
