"""Prints saved comparisons as Markdown tables.

python -m benchmarks.table benchmarks/results/compare.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """Medians of every case; the ratio is the candidate's rate by the reference's."""
    cases = result["cases"]
    if not cases:
        return "(no cases)"
    reference, candidate = cases[0]["samples"]
    lines = [
        f"| case | {reference} /s | {candidate} /s | ratio | {reference} CPU us | {candidate} CPU us "
        f"| {reference} p99 ms | {candidate} p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case in cases:
        left, right = case["samples"][reference], case["samples"][candidate]
        ratio = middle(right, "rate") / middle(left, "rate")
        cells = (
            case["name"],
            f"{middle(left, 'rate'):,.0f}",
            f"{middle(right, 'rate'):,.0f}",
            f"{ratio:.2f}",
            f"{middle(left, 'cpu_us'):,.1f}",
            f"{middle(right, 'cpu_us'):,.1f}",
            optional(left, "p99_ms"),
            optional(right, "p99_ms"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    rounds = len(cases[0]["samples"][reference])
    lines.append("")
    lines.append(
        f"Medians of {rounds} rounds. {', '.join(f'{k}: {v}' for k, v in result['machine'].items())}."
    )
    return "\n".join(lines)


def middle(samples: list[dict[str, float | None]], field: str) -> float:
    return median(value for sample in samples if (value := sample[field]) is not None)


def optional(samples: list[dict[str, float | None]], field: str) -> str:
    return "" if samples[0][field] is None else f"{middle(samples, field):,.2f}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(markdown(json.loads(Path(name).read_text())))
