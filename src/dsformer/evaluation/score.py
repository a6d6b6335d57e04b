"""Tasks and scores: what an evaluation task is, what it is measured on, and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from dsformer.evaluation.encoder import Encoder, encode


@dataclass(frozen=True)
class Score:
    """The result of one model on one task.

    Attributes:
        task: the task's name.
        metric: what `value` is, such as "accuracy".
        value: the score. Perplexity is better the lower; every other metric is times 100, and better the higher.
        spread: standard deviation of the value (over draws or texts, as the task says), in the same unit.
        count: how many items were scored; a limit makes it smaller than the task's usual number.
        seconds: wall-clock time of the task, including the time to read its data.
        data: the user's directory that the data came from, which may hold other data than the task's name says.
    """

    task: str
    metric: str
    value: float
    spread: float | None
    count: int
    seconds: float = 0.0
    data: str | None = None


@dataclass(frozen=True)
class Inputs:
    """What a task is measured on.

    Attributes:
        encoder: the model measured.
        original: the model it is compared to, for tasks that compare.
        data_dir: a folder of data sets.
        progress: whether to show progress bars.
        limit: score at most this many items, evenly spaced in the data.
    """

    encoder: Encoder
    original: Encoder | None = None
    data_dir: Path | None = None
    progress: bool = False
    limit: int | None = None

    def encode(self, texts: Sequence[str]) -> Float32[np.ndarray, "texts width"]:
        """Embed texts with the model measured."""
        return encode(self.encoder, texts, progress=self.progress)


@dataclass(frozen=True)
class Task:
    """A way to measure a sentence encoder.

    Attributes:
        measure: function that runs the task.
        folder: name of the data set it needs, if any; it is looked up before any task runs.
        needs_original: whether it compares the model to another one.
        limited: whether it can be measured on some of its items only.
    """

    measure: Callable[[Inputs], Score]
    folder: str | None = None
    needs_original: bool = False
    limited: bool = True
