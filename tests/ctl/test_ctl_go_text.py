"""Numbers, quoted strings, spans of time and JSON as Go reads and writes them."""

from __future__ import annotations

import pytest

from etcdpy.ctl.go_text import (
    duration_text,
    json_text,
    parse_duration,
    parse_int,
    parse_uint,
    quote,
    split_words,
    unquote,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5s", 5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("-2ms", -0.002),
        ("1h2m3.5s", 3723.5),
        (".5s", 0.5),
    ],
)
def test_spans_of_time_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        (".s", 'time: invalid duration ".s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5s1", 'time: missing unit in duration "5s1"'),
        ("1x", 'time: unknown unit "x" in duration "1x"'),
    ],
)
def test_bad_spans_of_time_are_refused_in_gos_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="time:") as caught:
        parse_duration(text)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (7e-9, "7ns"),
        (0.0000015, "1.5µs"),
        (0.001234567, "1.234567ms"),
        (1.000946813, "1.000946813s"),
        (5400, "1h30m0s"),
        (-0.5, "-500ms"),
    ],
)
def test_spans_of_time_are_written(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize("text", ["", "x", " 1", "1 ", "1_0", "--1", "0x1", "1.0", "\u0661"])
def test_bad_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_int(text)


def test_numbers_have_their_bounds() -> None:
    assert parse_int("-9223372036854775808") == -(2**63)
    assert parse_uint("ffffffffffffffff", 16) == 2**64 - 1
    assert (parse_int("0x1f", 0), parse_int("017", 0), parse_int("0", 0)) == (31, 15, 0)
    with pytest.raises(ValueError, match="value out of range"):
        parse_int("9223372036854775808")
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_uint("-1", 16)


def test_quoting_goes_both_ways() -> None:
    value = b'a\xff\x00\n\t"\\\xc3\xa9\xe2\x80\xa8'
    assert quote(value) == r'"a\xff\x00\n\t\"\\é\u2028"'
    text, end = unquote(quote(value) + " rest")
    assert text.encode("utf-8", "surrogateescape") == value
    assert end == len(quote(value))


@pytest.mark.parametrize("text", ["", "a", '"a', '"\\q"', '"\\x4"'])
def test_bad_quotes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"quoted string|EOF|escape"):
        unquote(text)


def test_a_line_falls_into_words() -> None:
    assert split_words("""put "x y" 'q "z"' "\\x41\\n" plain""") == ["put", "x y", 'q "z"', "A\n", "plain"]


def test_json_is_gos() -> None:
    value = {"b": b"\x00\xff", "s": "<é&\u2028\x01\n", "n": None, "t": True, "l": [], "o": {}, "i": -1}
    assert json_text(value) == (
        r'{"b":"AP8=","s":"\u003cé\u0026\u2028\u0001\n","n":null,"t":true,"l":[],"o":{},"i":-1}'
    )
