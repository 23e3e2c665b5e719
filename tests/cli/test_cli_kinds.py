"""Values as Go's flag package reads them, and durations as it prints them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.server.config_kinds import (
    COUNT,
    COUNT32,
    DURATION,
    INTEGER,
    SWITCH,
    URLS,
    BadValue,
    WrongType,
)
from etcdpy.server.log import duration_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5s1h", 3600.5),
        ("1.s", 1),
        ("10ms", 0.01),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("-2m", -120),
        ("+2m", 120),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert DURATION.parse(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("text", ["", "5", "s", ".s", "1x", "1h 2m", "--1s", "9999999999999h", "1h-2m"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(BadValue, match="parse error"):
        DURATION.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (90, "1m30s"),
        (3600, "1h0m0s"),
        (0.1, "100ms"),
        (1.5, "1.5s"),
        (0.000588263, "588.263µs"),
        (5e-9, "5ns"),
        (-120, "-2m0s"),
    ],
)
def test_duration_text(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_printed_durations_are_read_back(nanoseconds: int) -> None:
    assert DURATION.parse(duration_text(nanoseconds / 1e9)) == pytest.approx(nanoseconds / 1e9, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "number"), [("0x10", 16), ("010", 8), ("0_7", 7), ("1_000", 1000), ("0b11", 3), ("0o17", 15)]
)
def test_numbers(text: str, number: int) -> None:
    assert COUNT.parse(text) == number
    assert INTEGER.parse("-" + text) == -number


@pytest.mark.parametrize("text", ["", "abc", "1.0", "08", "0_8", "+1", "-1", "1__0", "1_", " 1"])
def test_bad_counts(text: str) -> None:
    with pytest.raises(BadValue, match="parse error"):
        COUNT.parse(text)


def test_numbers_out_of_range() -> None:
    with pytest.raises(BadValue, match="value out of range"):
        COUNT32.parse("4294967296")


@pytest.mark.parametrize(
    ("text", "on"), [("1", True), ("T", True), ("true", True), ("F", False), ("0", False)]
)
def test_switches(text: str, on: bool) -> None:
    assert SWITCH.parse(text) is on


@pytest.mark.parametrize("text", ["", "yes", "tRUE", "2"])
def test_bad_switches(text: str) -> None:
    with pytest.raises(BadValue, match="parse error"):
        SWITCH.parse(text)


def test_url_lists_are_sorted_and_have_no_doubles() -> None:
    urls = URLS.parse("http://127.0.0.1:9,http://127.0.0.1:10,http://127.0.0.1:9")
    assert urls == ("http://127.0.0.1:10", "http://127.0.0.1:9")
    assert [url.port for url in urls] == [10, 9]


@pytest.mark.parametrize(
    ("value", "found"),
    [("1", "string"), (True, "bool"), (1.5, "number 1.5"), (-1, "number -1"), ([1], "array")],
)
def test_config_file_numbers_are_numbers(value: object, found: str) -> None:
    with pytest.raises(WrongType, match=found):
        COUNT.load(value)
