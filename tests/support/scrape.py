"""What `/metrics` says, as values, names, types and label names."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass, field

SECONDS_MAX = 10.0
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = tuple[tuple[str, str], ...]


@dataclass
class Scrape:
    """One answer of `/metrics`."""

    types: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, name: str, /, **labels: str) -> float:
        """The one sample of these labels; 0 when it is not there, as of a counter nobody has touched."""
        return self.values.get((name, tuple(sorted(labels.items()))), 0.0)

    def label_names(self) -> set[tuple[str, tuple[str, ...]]]:
        """Each sample's name with the names of its labels."""
        return {(name, tuple(label for label, _ in labels)) for name, labels in self.values}

    def all_of(self, name: str) -> dict[Labels, float]:
        """The samples of one name that are not zero."""
        return {labels: value for (one, labels), value in self.values.items() if one == name and value}


def scrape(endpoint: str) -> Scrape:
    """Ask `http://endpoint/metrics`. A line that Prometheus could not read is an `AssertionError`."""
    found = Scrape()
    for line in fetch(endpoint, "/metrics").text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in found.types, f"two families named {name}"
            found.types[name] = kind
        elif not line.startswith("#"):
            sample = _SAMPLE.match(line)
            assert sample is not None, f"not a sample: {line}"
            key = (sample["name"], tuple(sorted(_LABEL.findall(sample["labels"] or ""))))
            assert key not in found.values, f"two samples of {line}"
            found.values[key] = float(sample["value"])
    return found


@dataclass(frozen=True)
class Page:
    """An HTTP answer. Names of headers are in small letters."""

    status: int
    text: str
    headers: dict[str, str]


def fetch(endpoint: str, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Page:
    """The answer, whatever its status."""
    request = urllib.request.Request(f"http://{endpoint}{path}", method=method, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _EveryStatus())
    with opener.open(request, timeout=SECONDS_MAX) as answer:
        named = {name.lower(): value for name, value in answer.headers.items()}
        return Page(answer.status, answer.read().decode(), named)


class _EveryStatus(urllib.request.HTTPErrorProcessor):
    """Lets errors pass as answers."""

    def http_response(self, request, response):  # type: ignore[no-untyped-def]
        return response
