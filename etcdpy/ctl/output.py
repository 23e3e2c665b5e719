"""What `etcdpyutl` writes: an answer in etcdutl's formats on standard output, notes on standard error;
and the tables, sizes and exit codes that it shares with `etcdpyctl`.

A *report* is one row of named values. Each format shows them its own way, as etcdutl 3.5.1 does: byte for
byte, because scripts cut these lines up.
"""

from __future__ import annotations

import datetime
import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "EXIT_BAD_ARGUMENTS",
    "EXIT_BAD_CONNECTION",
    "EXIT_BAD_FEATURE",
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "EXIT_INVALID_INPUT",
    "Fault",
    "Report",
    "human_bytes",
    "note",
    "show",
    "table_text",
]

EXIT_ERROR: Final = 1
EXIT_BAD_CONNECTION: Final = 2
EXIT_INVALID_INPUT: Final = 3
EXIT_BAD_FEATURE: Final = 4
EXIT_INTERRUPTED: Final = 5
EXIT_BAD_ARGUMENTS: Final = 128
UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class Fault(Exception):
    """The command cannot do what it was asked to; the text is all that is said about it."""

    def __init__(self, text: str, code: int = EXIT_ERROR) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a report under the names it has in each format. None: that format leaves it out."""

    column: str
    shown: str
    field_name: str
    json_name: str
    raw: int | str


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of a command."""

    values: tuple[Value, ...]


def show(report: Report, form: str) -> None:
    """Write a report in the format of `--write-out`."""
    sys.stdout.write(_render(report, form))


def check_format(form: str) -> None:
    """Refuse a format before any work is done for it."""
    if form == "protobuf":
        raise Fault("protobuf not supported as output format", EXIT_BAD_FEATURE)
    if form not in ("simple", "json", "fields", "table"):
        raise Fault("unsupported output format", EXIT_BAD_FEATURE)


def _render(report: Report, form: str) -> str:
    check_format(form)
    values = report.values
    if form == "simple":
        return ", ".join(value.shown for value in values) + "\n"
    if form == "json":
        fields = {value.json_name: value.raw for value in values}
        return json.dumps(fields, separators=(",", ":")) + "\n"
    if form == "fields":
        return "".join(f'"{value.field_name}" : {json.dumps(value.raw)}\n' for value in values)
    return table_text([value.column for value in values], [[value.shown for value in values]])


def table_text(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with upper-case heads in the middle of their columns, and cells at the right."""
    heads = [head.upper() for head in heads]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    centred = "".join(f"| {_centre(head, width)} " for head, width in zip(heads, widths, strict=True))
    flushed = [
        "".join(f"| {cell:>{width}} " for cell, width in zip(row, widths, strict=True)) + "|\n"
        for row in rows
    ]
    return f"{rule}{centred}|\n{rule}{''.join(flushed)}{rule}"


def _centre(text: str, width: int) -> str:
    gap = width - len(text)
    left = gap // 2
    return " " * left + text + " " * (gap - left)


def human_bytes(size: int) -> str:
    """A size for people, in powers of a thousand: `20 kB`, `1.5 MB`."""
    if size < 10:
        return f"{size} B"
    exponent = min(int(math.log(size, 1000)), len(UNITS) - 1)
    value = math.floor(size / 1000**exponent * 10 + 0.5) / 10
    return f"{value:.1f} {UNITS[exponent]}" if value < 10 else f"{value:.0f} {UNITS[exponent]}"


def note(message: str, **fields: object) -> None:
    """One line of what is going on, in the shape of etcdutl's log."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = {name.replace("_", "-"): value for name, value in fields.items()}
    sys.stderr.write(f"{now}\tinfo\tetcdpyutl\t{message}\t{json.dumps(shown, default=str)}\n")
