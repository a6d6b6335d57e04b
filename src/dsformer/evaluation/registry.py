"""The tasks by name, and the verb that runs them."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsformer.errors import InputError
from dsformer.evaluation import banking77, fidelity, retrieval, similarity, supervised
from dsformer.evaluation.encoder import Encoder, load_encoder
from dsformer.evaluation.score import Inputs, Score, Task
from dsformer.files import user_path
from dsformer.tasks.sources import find_data
from dsformer.tasks.supervised import TASK_NAMES

TASKS: dict[str, Task] = {
    "banking77": Task(banking77.measure, "banking77"),
    "stsb": Task(similarity.measure, "glue-stsb"),
    "scifact": Task(retrieval.measure, "scifact"),
    "fidelity": Task(fidelity.measure, "banking77", needs_original=True),
}
"""Every task that `evaluate` knows. A new one is added by assigning to its name."""


def evaluate(
    model: str | os.PathLike[str] | Encoder,
    tasks: Sequence[str],
    data_dir: str | os.PathLike[str] | None = None,
    original: str | os.PathLike[str] | Encoder | None = None,
    progress: bool = False,
    limit: int | None = None,
) -> dict[str, Score]:
    """Measure a sentence encoder, or a model with a task's head.

    Args:
        model: a model directory, or a `SentenceTransformer`.
        tasks: names out of `TASKS`; for a directory of a classifier or another model with a head, names of supervised
            tasks.
        data_dir: a folder of data sets. "banking77" and "fidelity" do without; "stsb" needs its folder `glue-stsb`,
            "scifact" its folder `scifact`.
        original: the model before compression; only "fidelity" uses it.
        progress: whether to show progress bars.
        limit: score at most this many items of each task, for a quick look. `Score.count` tells how many it was; such
            scores can be compared with each other, not with published ones.

    Returns:
        The score of each task, in the order asked for.

    Raises:
        InputError: a task is unknown, or lacks its data or the original model. Raised before any model is loaded.
        MissingExtraError: the packages of the extra "evaluate" are not installed.
    """
    folder = None if data_dir is None else user_path(data_dir)
    if isinstance(tasks, str) or not tasks:
        raise InputError(f"Give a list of tasks out of: {', '.join(TASKS)}")
    if limit is not None and limit < 1:
        raise InputError(f"The limit must be at least 1, not {limit}")
    place = os.fspath(model) if isinstance(model, str | os.PathLike) else ""
    own = [name for name in tasks if place and supervised.fits(place, name, name in TASKS)]
    others = [name for name in tasks if name not in own]
    _check(others, folder, has_original=original is not None)
    scores = {name: supervised.measure(place, name, folder, limit) for name in own}
    if others:
        wants_original = any(TASKS[name].needs_original for name in others)
        inputs = Inputs(
            encoder=load_encoder(model),
            original=load_encoder(original) if wants_original and original is not None else None,
            data_dir=folder,
            progress=progress,
            limit=limit,
        )
        scores |= {name: _timed(TASKS[name], inputs) for name in others}
    return {name: scores[name] for name in tasks}


def _check(tasks: Sequence[str], data_dir: Path | None, *, has_original: bool) -> None:
    for name in tasks:
        if name in TASK_NAMES and name not in TASKS:
            raise InputError(f"The task {name!r} is for models with its head, and this model has none")
        if name not in TASKS:
            raise InputError(f"Unknown task {name!r}; the tasks are: {', '.join(TASKS)}")
        if TASKS[name].needs_original and not has_original:
            raise InputError(f"The task {name!r} compares the model to the one it was made from: give the original too")
        if (folder := TASKS[name].folder) is not None:
            find_data(folder, data_dir)


def _timed(task: Task, inputs: Inputs) -> Score:
    start = time.perf_counter()
    score = task.measure(inputs)
    return replace(score, seconds=time.perf_counter() - start)
