"""Registry of evaluation tasks by name, and the function that runs them."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsformer.data.sources import BUNDLED, find_data
from dsformer.data.supervised import TASK_NAMES, Columns
from dsformer.data.supervised.files import FORMATS
from dsformer.errors import InputError
from dsformer.evaluation import banking77, fidelity, retrieval, similarity, supervised
from dsformer.evaluation.encoder import Encoder, load_encoder
from dsformer.evaluation.mteb_tasks import PREFIX, fetch, mteb_task
from dsformer.evaluation.score import Inputs, Score, Task
from dsformer.models.remote_code import trusting
from dsformer.utils.atomic_io import user_path

TASKS: dict[str, Task] = {
    "banking77": Task(banking77.measure, "banking77"),
    "stsb": Task(similarity.measure, "glue-stsb"),
    "scifact": Task(retrieval.measure, "scifact"),
    "fidelity": Task(fidelity.measure, "banking77", needs_original=True),
}
"""Every task that `evaluate` knows, besides those of MTEB. To add a task, assign it to its name."""


def evaluate(
    model: str | os.PathLike[str] | Encoder,
    tasks: Sequence[str],
    data_dir: str | os.PathLike[str] | None = None,
    original: str | os.PathLike[str] | Encoder | None = None,
    progress: bool = False,
    limit: int | None = None,
    columns: Columns | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Score]:
    """Measure a sentence encoder, or a model with a task's head.

    Args:
        model: a model directory, or a `SentenceTransformer`.
        tasks: names out of `TASKS`, or ``mteb:`` followed by a name of MTEB; for a directory of a classifier or another
            model with a head, names of supervised tasks, or paths of files with texts and labels.
        data_dir: a folder of data sets. "banking77" and "fidelity" do not need it. "stsb" needs its folder `glue-stsb`,
            "scifact" its folder `scifact`. Data sets of MTEB are looked up under their names on the hub.
        original: the model before compression; only "fidelity" uses it.
        progress: whether to show progress bars.
        limit: score at most this many items of each task, for a quick look. `Score.count` is the number scored. Such
            scores can be compared with each other, but not with published ones.
        columns: the columns of such files.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        The score of each task, in the order of ``tasks``.

    Raises:
        InputError: a task is unknown, or lacks its data or the original model. Raised before any model is loaded.
        MissingExtraError: the packages of the extra "evaluate", or "mteb", are not installed.
    """
    with trusting(trust_remote_code):
        return _evaluate(
            model, tasks, None if data_dir is None else user_path(data_dir), original, progress, limit, columns
        )


def _evaluate(
    model: str | os.PathLike[str] | Encoder,
    tasks: Sequence[str],
    folder: Path | None,
    original: str | os.PathLike[str] | Encoder | None,
    progress: bool,
    limit: int | None,
    columns: Columns | None,
) -> dict[str, Score]:
    if isinstance(tasks, str) or not tasks:
        raise InputError(f"Give a list of tasks out of: {', '.join(TASKS)}")
    if limit is not None and limit < 1:
        raise InputError(f"The limit must be at least 1, not {limit}")
    place = os.fspath(model) if isinstance(model, str | os.PathLike) else ""
    own = [name for name in tasks if place and supervised.fits(place, name, name in TASKS)]
    others = [name for name in tasks if name not in own]
    found = {name: _checked(name, folder, original is not None, limit) for name in others}
    scores = {name: supervised.measure(place, name, folder, limit, columns) for name in own}
    if others:
        wants_original = any(task.needs_original for task in found.values())
        inputs = Inputs(
            encoder=load_encoder(model),
            original=load_encoder(original) if wants_original and original is not None else None,
            data_dir=folder,
            progress=progress,
            limit=limit,
        )
        scores |= {name: _timed(task, inputs) for name, task in found.items()}
    return {name: scores[name] for name in tasks}


def _checked(name: str, data_dir: Path | None, has_original: bool, limit: int | None) -> Task:
    """Find a task for sentence encoders, and check that it can run with what the user gave."""
    if supervised.is_file(name):
        raise InputError(
            f"{name}: a file is scored by a model's own head, and this model has none: dsformer finetune MODEL "
            f"-o OUT --task {name} gives it one"
        )
    if name in TASK_NAMES and name not in TASKS:
        raise InputError(f"The task {name!r} is for models with its head, and this model has none")
    task = find_task(name)
    if task.needs_original and not has_original:
        raise InputError(f"The task {name!r} compares the model to the one it was made from: give the original too")
    if limit is not None and not task.limited:
        raise InputError(f"The task {name!r} is measured whole: leave the limit out")
    if task.folder is not None:
        find_data(task.folder, data_dir)
    return task


def find_task(name: str) -> Task:
    """Find a task for sentence encoders by its name.

    Raises:
        InputError: there is no task of that name.
        MissingExtraError: it is a task of MTEB, which is not installed.
    """
    if name.startswith(PREFIX):
        return mteb_task(name)
    if name not in TASKS:
        raise InputError(unknown_task(name))
    return TASKS[name]


def require_data(name: str, data_dir: Path | None) -> None:
    """Check that the data of a task for sentence encoders is available.

    Raises:
        InputError: the data is missing; or as for `find_task`.
        MissingExtraError: as for `find_task`.
    """
    if name.startswith(PREFIX):
        fetch(name, data_dir)
    elif (folder := find_task(name).folder) is not None:
        find_data(folder, data_dir)


def unknown_task(name: str) -> str:
    """Write the message for an unknown task: the known ones, and what else can be scored."""
    known = ", ".join(dict.fromkeys([*TASKS, *TASK_NAMES]))
    return (
        f"Unknown task {name!r}; the tasks are: {known}; a model with a head is scored on a file of texts and labels "
        f"too (its path, ending in {', '.join(FORMATS)}), an encoder on retrieval data of yours in BEIR's layout, as "
        f"DIR/scifact with --data-dir DIR, and on any of MTEB's text tasks as {PREFIX}NAME"
    )


def _timed(task: Task, inputs: Inputs) -> Score:
    """Run a task, and add its time and its data directory to the score."""
    start = time.perf_counter()
    score = task.measure(inputs)
    if task.folder is not None:
        data = find_data(task.folder, inputs.data_dir)
        score = replace(score, data=None if data.is_relative_to(BUNDLED) else str(data))
    return replace(score, seconds=time.perf_counter() - start)
