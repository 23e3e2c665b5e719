"""Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable
from decimal import Decimal

from etcdpy.metrics.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def labels(**values: str) -> str:
    """A series' labels as they are written, without braces, in the order of their names."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(values.items()))


def number(value: float) -> str:
    """A number as Go writes it: an exponent from a million on and below a ten-thousandth."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return str(int(value)) if value == int(value) else repr(float(value))
    if value == float("inf"):
        return "+Inf"
    mantissa, _, exponent = f"{Decimal(repr(float(value))).normalize():e}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:]:>02}"


class Family:
    """One metric and its series.

    Args:
        kind: `counter`, `gauge` or `histogram`.
        help_text: one line.
    """

    __slots__ = ("_lines", "help", "kind", "name")

    def __init__(self, name: str, kind: str, help_text: str) -> None:
        self.name = name
        self.kind = kind
        self.help = help_text
        self._lines: list[str] = []

    @classmethod
    def single(cls, name: str, kind: str, help_text: str, value: float) -> "Family":
        """A metric with one series that has no labels."""
        family = cls(name, kind, help_text)
        family.add(value)
        return family

    def add(self, value: float, labelled: str = "") -> None:
        """A series; `labelled` comes from `labels`."""
        name = f"{self.name}{{{labelled}}}" if labelled else self.name
        self._lines.append(f"{name} {number(value)}\n")

    def add_histogram(self, histogram: Histogram, labelled: str = "") -> None:
        """The series of a histogram."""
        name, lines = self.name, self._lines
        inner = labelled + "," if labelled else ""
        total = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{inner}le="{number(bound)}"}} {number(total)}\n')
        braces = f"{{{labelled}}}" if labelled else ""
        lines.append(f"{name}_sum{braces} {number(histogram.sum)}\n")
        lines.append(f"{name}_count{braces} {number(total)}\n")

    @property
    def text(self) -> str:
        """Its lines; nothing for a metric without series."""
        if not self._lines:
            return ""
        head = f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"
        return head + "".join(self._lines)


def exposition(families: Iterable[Family]) -> str:
    """The answer to a scrape, by name."""
    return "".join(family.text for family in sorted(families, key=lambda family: family.name))
