"""Tasks of MTEB, run by the package ``mteb``: ``mteb:STS12`` and a thousand more."""

import logging
import math
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsformer.data.sources import find_local
from dsformer.errors import InputError, MissingExtraError
from dsformer.evaluation.encoder import finite
from dsformer.evaluation.score import Inputs, Score, Task

PREFIX = "mteb:"
BATCH = 64


def mteb_task(name: str) -> Task:
    """Return a task of MTEB; it needs no original, and cannot be limited.

    Args:
        name: `PREFIX`, followed by MTEB's name of the task.

    Raises:
        InputError: MTEB has no such task, or the task is not on text alone.
        MissingExtraError: the packages of the extra "mteb" are not installed.
    """
    with _guarded():
        _parts(name)
    return Task(partial(_measure, name), limited=False)


def fetch(name: str, data_dir: Path | None = None) -> None:
    """Load a task's data into the cache of `datasets`, so that missing data is noticed before the work begins.

    Raises:
        InputError: the data is neither in the folder nor in the cache, and the hub cannot be reached; or as for
            `mteb_task`.
        MissingExtraError: as for `mteb_task`.
    """
    with _guarded():
        for part in _parts(name)[1]:
            _load(name, part, data_dir)
            part.unload_data()


def _measure(name: str, inputs: Inputs) -> Score:
    """Measure the task's main score (times 100), the mean over its languages and subsets.

    Raises:
        InputError: the data cannot be loaded, or the model is not a `SentenceTransformer`.
    """
    from sentence_transformers import SentenceTransformer

    if not isinstance(inputs.encoder, SentenceTransformer):
        raise InputError(f"{name}: MTEB measures a SentenceTransformer, not {type(inputs.encoder).__name__}")
    count, places, results = 0, [], []
    with _guarded():
        import mteb

        task, parts = _parts(name)
        encoder = _checking(inputs.encoder)
        for part in parts:
            places.append(_load(name, part, inputs.data_dir))
            count += _items(part)
            # MTEB's cache of results treats all models without a hub name as the same one.
            found = mteb.evaluate(
                encoder,
                part,
                cache=None,
                co2_tracker=False,
                show_progress_bar=inputs.progress,
                encode_kwargs={"batch_size": BATCH, "show_progress_bar": inputs.progress},
            )
            results.append(found.task_results[0])
            part.unload_data()
        result = task.combine_task_results(results) if task.is_aggregate else results[0]
    value = 100 * float(result.get_score())
    if not math.isfinite(value):
        raise InputError(f"{name}: MTEB's score is not a number; all embeddings may be alike")
    data = next((str(place) for place in places if place), None)
    return Score(name, task.metadata.main_score, value, None, count, data=data)


def _parts(name: str) -> tuple[Any, list[Any]]:
    """Return MTEB's task, and the tasks that it is the mean of: itself, if it is not an aggregate."""
    try:
        import mteb
    except ImportError as error:
        raise MissingExtraError(f"The task {name!r}", "mteb") from error
    try:
        task: Any = mteb.get_task(name.removeprefix(PREFIX))
    except KeyError:
        raise InputError(_unknown(name)) from None
    if list(task.metadata.modalities) != ["text"]:
        raise InputError(f"The task {name!r} is of {' and '.join(task.metadata.modalities)}, not of texts alone")
    return task, list(task.tasks) if task.is_aggregate else [task]


def _unknown(name: str) -> str:
    """Describe the error of an unknown task, with names that are close to it."""
    import mteb

    known = {task.metadata.name.casefold(): task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)}
    asked = name.removeprefix(PREFIX).casefold()
    close = [*(one for one in known if asked and one.startswith(asked)), *get_close_matches(asked, known)]
    hint = ", ".join(f"{PREFIX}{known[one]}" for one in list(dict.fromkeys(close))[:3])
    return f"Unknown task {name!r}: MTEB has none of that name" + (f"; near it are {hint}" if hint else "")


def _load(name: str, part: Any, data_dir: Path | None) -> Path | None:
    """Load the data of a task, and return the user's folder that it came from, if any."""
    repository = part.metadata.dataset["path"]
    place = find_local(repository, data_dir)
    if place is not None:
        local = {**part.metadata.dataset, "path": str(place)}
        part.metadata = part.metadata.model_copy(update={"dataset": local})
    try:
        part.load_data()
    except Exception as error:  # the hub's clients raise errors of a dozen kinds, and no base class unites them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{name}: its data {place or repository} cannot be loaded: {reason}; --data-dir may name a folder that "
            f"holds the repository as {repository!r}"
        ) from error
    return place


def _items(part: Any) -> int:
    """Count the rows that are scored, or the queries of a retrieval task."""
    count = 0
    for subset in part.hf_subsets:
        splits = part.dataset.get(subset, part.dataset)
        for split in part.eval_splits:
            rows = splits[split]
            count += len(rows["queries"] if isinstance(rows, Mapping) else rows)
    return count


def _checking(encoder: Any) -> Any:
    """Wrap a model for MTEB, such that embeddings that are not finite are refused."""
    from mteb.models import SentenceTransformerEncoderWrapper

    class Checking(SentenceTransformerEncoderWrapper):
        def encode(self, inputs: Any, **options: Any) -> Any:
            return finite(np.asarray(super().encode(inputs, **options), dtype=np.float32))

    return Checking(encoder)


@contextmanager
def _guarded() -> Iterator[None]:
    """Undo the side effects of MTEB.

    It seeds all random generators when it is imported, and warns about model names.
    """
    python, numpy, log = random.getstate(), np.random.get_state(), logging.getLogger("mteb")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        log.setLevel(level)
