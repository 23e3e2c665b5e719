"""The text that Prometheus reads, number by number as Go writes it."""

from __future__ import annotations

import pytest

from etcdpy.metrics import Family, Histogram, doubling, exposition, labels
from etcdpy.metrics.exposition import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (-1, "-1"),
        (0.5, "0.5"),
        (0.0001, "0.0001"),
        (7.2369e-05, "7.2369e-05"),
        (999999, "999999"),
        (1_000_000, "1e+06"),
        (1_048_576, "1.048576e+06"),
        (2_147_483_648, "2.147483648e+09"),
        (1.8446744073709552e19, "1.8446744073709552e+19"),
        (float("inf"), "+Inf"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert number(value) == text


def test_labels_are_in_the_order_of_their_names_and_escaped() -> None:
    assert labels(b='say "hi"', a="x\ny\\") == 'a="x\\ny\\\\",b="say \\"hi\\""'


def test_a_bound_belongs_to_its_bucket_and_buckets_are_cumulative() -> None:
    histogram = Histogram(doubling(1, 2))
    for value, times in [(1.0, 1), (1.5, 2), (9.0, 1)]:
        histogram.observe(value, times)
    family = Family("h", "histogram", "of something")
    family.add_histogram(histogram, labels(op="Put"))
    assert family.text.splitlines() == [
        "# HELP h of something",
        "# TYPE h histogram",
        'h_bucket{op="Put",le="1"} 1',
        'h_bucket{op="Put",le="2"} 3',
        'h_bucket{op="Put",le="+Inf"} 4',
        'h_sum{op="Put"} 13',
        'h_count{op="Put"} 4',
    ]


def test_metrics_are_sorted_and_those_without_series_left_out() -> None:
    families = [
        Family.single("b", "gauge", "B.", 2),
        Family("none", "counter", "-"),
        Family.single("a", "counter", "A.", 1),
    ]
    assert exposition(families) == "# HELP a A.\n# TYPE a counter\na 1\n# HELP b B.\n# TYPE b gauge\nb 2\n"
