"""Measured rows of a report: scores and latencies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreRow:
    """A task's score after compression and, where there is a dense model to score, before.

    Attributes:
        task: its name.
        metric: of the scores.
        before: score of the dense model.
        after: score of the compressed model.
        spread: standard deviation of ``after``, in its unit.
        count: number of items scored.
        data: the user's directory that the data came from.
    """

    task: str
    metric: str
    before: float | None
    after: float
    spread: float | None
    count: int
    data: str | None = None

    @property
    def change(self) -> float | None:
        """Score after minus before; None without a score before."""
        return None if self.before is None else self.after - self.before


@dataclass(frozen=True)
class LatencyRow:
    """Time of one batch of texts, from text to embeddings, over paired alternating runs.

    Attributes:
        batch: a description of the texts.
        before, after: median seconds of the dense and of the compressed model.
        speedup: median over the pairs of dense / compressed.
        low, high: quartiles of the speed-up.
        pairs: number of runs of each.
    """

    batch: str
    before: float
    after: float
    speedup: float
    low: float
    high: float
    pairs: int
