"""Aggregation of a sweep's rows over seeds: a line for every method and ratio."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Any


@dataclass(frozen=True)
class Line:
    """A method at a ratio.

    Attributes:
        method: as in ``Variant``.
        ratio: asked for.
        refused: why the method cannot do this; None: it can.
        bytes: of the compressed model.
        encoder_ratio: reached.
        error: root mean square of the blocks' relative errors.
        scores: by task, mean and (with several seeds) standard deviation over seeds.
        mean: of the scores, over tasks; None unless there is one for every task of the sweep.
        speedup: over the dense model: median and quartiles; None: not measured.
        errors: by block, of the first row that was not refused.
    """

    method: str
    ratio: float
    refused: str | None = None
    bytes: float = 0.0
    encoder_ratio: float = 0.0
    error: float = 0.0
    scores: dict[str, tuple[float, float | None]] | None = None
    mean: float | None = None
    speedup: dict[str, float] | None = None
    errors: dict[str, float] | None = None


def lines(rows: Sequence[dict[str, Any]]) -> list[Line]:
    """Aggregate rows to a line for every method and ratio, sorted by ratio, then by mean score, best first."""
    tasks = sorted({task for row in rows for task in row.get("scores", {})})
    groups: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["method"], row["ratio"]].append(row)
    found = [_line(method, ratio, own, tasks) for (method, ratio), own in groups.items()]
    return sorted(found, key=lambda one: (one.ratio, one.refused is not None, -(one.mean or 0.0)))


def with_spread(score: tuple[float, float | None]) -> str:
    """Format a mean score for tables, with its standard deviation if there is one."""
    return f"{score[0]:.2f}" if score[1] is None else f"{score[0]:.2f} ± {score[1]:.2f}"


def dense_scores(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Average the dense model's scores over seeds, by task."""
    known: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        for task, score in row.get("dense", {}).items():
            known[task][row["seed"]] = score
    return {task: mean(scores.values()) for task, scores in known.items()}


def _line(method: str, ratio: float, rows: list[dict[str, Any]], tasks: list[str]) -> Line:
    done = [row for row in rows if "refused" not in row]
    if not done:
        return Line(method, ratio, refused=rows[0]["refused"])
    scores = {}
    for task in tasks:
        own = [row["scores"][task] for row in done if task in row["scores"]]
        if own:
            scores[task] = (mean(own), pstdev(own) if len(own) > 1 else None)
    speedups = [row["speedup"] for row in done if "speedup" in row]
    return Line(
        method,
        ratio,
        bytes=mean(row["bytes"] for row in done),
        encoder_ratio=mean(row["encoder_ratio"] for row in done),
        error=mean(row["error"] for row in done),
        scores=scores,
        mean=mean(score for score, _ in scores.values()) if len(scores) == len(tasks) else None,
        speedup=speedups[0] if speedups else None,
        errors=done[0]["errors"],
    )
