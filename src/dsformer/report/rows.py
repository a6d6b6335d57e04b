"""Measured lines of a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreRow:
    """A task measured after compression and, where it makes sense, before.

    Attributes:
        spread: standard deviation behind ``after``, in its unit.
        count: items scored.
        data: the directory of the user's that the data came from.
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
        return None if self.before is None else self.after - self.before


@dataclass(frozen=True)
class LatencyRow:
    """Time for one batch of texts, from text to embeddings, over paired alternating runs.

    Attributes:
        before, after: median seconds of the dense and of the compressed model.
        speedup: median over the pairs of dense / compressed; ``low`` and ``high`` are its quartiles.
    """

    batch: str
    before: float
    after: float
    speedup: float
    low: float
    high: float
    pairs: int
