"""What a task is, what it is given and what it gives back."""

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
        value: the score, times 100 for every metric; higher is better.
        spread: standard deviation behind the value (over draws or texts; the task says which), in the same unit.
        count: how many items were scored; a limit makes it smaller than the task's usual number.
        seconds: wall-clock time of the task, reading its data included.
        data: the directory of the user's that the data came from, which need not be what the name says.
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
        limit: score at most this many items, at even distances in the data.
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
        measure: runs the task.
        folder: name of the data set it needs, if any; looked for before anything runs.
        needs_original: whether it compares the model to another one.
        limited: whether it can be measured on some of its items.
    """

    measure: Callable[[Inputs], Score]
    folder: str | None = None
    needs_original: bool = False
    limited: bool = True
