"""One cell of a sweep: a compression and its scores, in its own process."""

import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import PreTrainedModel

from dsformer.errors import UnreachableError
from dsformer.evaluation import TASKS, evaluate
from dsformer.evaluation.scoring import score_model
from dsformer.models.heads import align_classes
from dsformer.models.load import load
from dsformer.models.remote_code import trusting
from dsformer.models.source import open_source
from dsformer.pipeline.compress import compress
from dsformer.pipeline.state import Compressed
from dsformer.recipe import Recipe
from dsformer.sweep.grid import Cell
from dsformer.training.data import load_training_task, tokenize_task
from dsformer.utils.atomic_io import user_path, write_text


def run_cell(cell: Cell, place: Path, threads: int) -> dict[str, Any]:
    """Compress and score one cell.

    Args:
        cell: what to compress, and how.
        place: the sweep's directory.
        threads: of torch.

    Returns:
        The cell's row as JSON values; ``refused`` and why where the method cannot do what is asked.

    Raises:
        InputError: anything else is wrong, which is no fault of the method.
    """
    import torch

    torch.set_num_threads(threads)
    started = perf_counter()
    try:
        with trusting(cell.recipe.trust_remote_code):
            found = _on_a_task(cell, place) if cell.task else _as_an_encoder(cell, place)
    except UnreachableError as error:
        found = {"refused": str(error)}
    return {**described(cell), **found, "seconds": round(perf_counter() - started, 1)}


def described(cell: Cell) -> dict[str, Any]:
    """Return the part of a row that describes its cell."""
    training = cell.recipe.training
    return {
        "key": cell.key,
        "method": str(cell.variant),
        "ratio": cell.ratio,
        "task": cell.task,
        "seed": cell.seed,
        "learning_rate": None if training.train == "none" else training.learning_rate,
    }


def make_teacher(cell: Cell, place: Path, threads: int) -> None:
    """Fine-tune the dense model that all cells of this task and seed start from.

    Args:
        cell: one of them.
        place: the sweep's directory.
        threads: of torch.
    """
    import torch

    from dsformer.pipeline.finetune import finetune

    torch.set_num_threads(threads)
    trust = cell.recipe.trust_remote_code
    place = teacher_place(cell, place)
    finetune(cell.model, place, data_dir=cell.data_dir, trust_remote_code=trust, **cell.dense_training)


def teacher_place(cell: Cell, place: Path) -> Path:
    """Return the directory of a cell's fine-tuned dense model."""
    return place / "teachers" / cell.teacher_key


def model_place(cell: Cell, place: Path) -> Path:
    """Return the directory of a cell's compressed model."""
    return place / "models" / cell.key


def recipe_of(cell: Cell, place: Path) -> Recipe:
    """Return the cell's recipe, with a calibration cache that all methods and ratios share."""
    recipe = cell.recipe
    return recipe if recipe.calibration.cache else recipe.merged({"calibration": {"cache": place / "calibrations"}})


def _as_an_encoder(cell: Cell, place: Path) -> dict[str, Any]:
    output = model_place(cell, place)
    done = compress(cell.model, output, recipe=recipe_of(cell, place), data_dir=cell.data_dir, overwrite=True)
    scores = evaluate(str(output), list(cell.evaluate), cell.data_dir, original=cell.model)
    own = [name for name in cell.evaluate if name not in TASKS or not TASKS[name].needs_original]

    def score() -> dict[str, float]:
        return {name: found.value for name, found in evaluate(cell.model, own, cell.data_dir).items()} if own else {}

    dense = _once(place / "dense" / f"{cell.encoder_key}.json", score)
    return {**_account(done), "scores": {name: found.value for name, found in scores.items()}, "dense": dense}


def _on_a_task(cell: Cell, place: Path) -> dict[str, Any]:

    recipe, output, teacher = recipe_of(cell, place), model_place(cell, place), teacher_place(cell, place)
    task = load_training_task(recipe.training, None if cell.data_dir is None else user_path(cell.data_dir))
    source = open_source(teacher)
    task = align_classes(source.model.config, task)
    data = tokenize_task(task, recipe.training, source.tokenizer, source.model)
    texts = data.sample(recipe.calibration)
    data_dir = cell.data_dir
    done = compress(teacher, output, recipe=recipe, texts=texts, data_dir=data_dir, overwrite=True)
    length = recipe.training.length

    def score(model: PreTrainedModel) -> dict[str, float]:
        return {task.scored_on: score_model(model, source.tokenizer, task, task.unseen, length)[task.metric]}

    dense = _once(place / "dense" / f"{cell.teacher_key}.json", lambda: score(source.model))
    return {**_account(done), "scores": score(load(output)), "dense": dense}


def _once(path: Path, score: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Read the scores of a dense model from a file, or compute and keep them: they are the same for many cells."""
    if not path.is_file():
        write_text(path, json.dumps(score()))
    return json.loads(path.read_text(encoding="utf-8"))


def _account(done: Compressed) -> dict[str, Any]:
    summary = done.summary
    return {
        "bytes": summary.bytes_after,
        "bytes_before": summary.bytes_before,
        "encoder_ratio": summary.encoder_ratio,
        "total_ratio": summary.total_ratio,
        "error": summary.mean_error,
        "errors": {", ".join(block.names): block.error for block in summary.blocks},
    }
