"""Tasks of MTEB, run by the package of that name: ``mteb:STS12`` and a thousand more."""

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
    """A task of MTEB; it needs no original, and cannot be limited.

    Args:
        name: `PREFIX` and MTEB's name of it.

    Raises:
        InputError: MTEB has no such task, or it is not of texts alone.
        MissingExtraError: the packages of the extra "mteb" are not installed.
    """
    with _guarded():
        _parts(name)
    return Task(partial(_measure, name), limited=False)


def fetch(name: str, data_dir: Path | None = None) -> None:
    """Bring a task's data into the cache of `datasets`, before the work rather than after it.

    Raises:
        InputError: it is neither in the folder, nor in the cache, nor can the hub be reached; or as `mteb_task`.
        MissingExtraError: as `mteb_task`.
    """
    with _guarded():
        for part in _parts(name)[1]:
            _load(name, part, data_dir)
            part.unload_data()


def _measure(name: str, inputs: Inputs) -> Score:
    """The task's main score (times 100), the mean over its languages and subsets.

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
            # Its cache of results takes all models without a name on the hub for one.
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
    """MTEB's task, and what it is the mean of: itself, where it is not put together of others."""
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
    import mteb

    known = {task.metadata.name.casefold(): task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)}
    asked = name.removeprefix(PREFIX).casefold()
    close = [*(one for one in known if asked and one.startswith(asked)), *get_close_matches(asked, known)]
    hint = ", ".join(f"{PREFIX}{known[one]}" for one in list(dict.fromkeys(close))[:3])
    return f"Unknown task {name!r}: MTEB has none of that name" + (f"; near it are {hint}" if hint else "")


def _load(name: str, part: Any, data_dir: Path | None) -> Path | None:
    """Load the data, and say which folder of the user's it came from."""
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
    """Rows that are scored; of retrieval, queries."""
    count = 0
    for subset in part.hf_subsets:
        splits = part.dataset.get(subset, part.dataset)
        for split in part.eval_splits:
            rows = splits[split]
            count += len(rows["queries"] if isinstance(rows, Mapping) else rows)
    return count


def _checking(encoder: Any) -> Any:
    """MTEB's wrapper of a model, which refuses embeddings that are not finite."""
    from mteb.models import SentenceTransformerEncoderWrapper

    class Checking(SentenceTransformerEncoderWrapper):
        def encode(self, inputs: Any, **options: Any) -> Any:
            return finite(np.asarray(super().encode(inputs, **options), dtype=np.float32))

    return Checking(encoder)


@contextmanager
def _guarded() -> Iterator[None]:
    """Without what MTEB does beside its work: it seeds all generators when it is imported, and warns of names."""
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
