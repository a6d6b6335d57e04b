"""One compression of a sweep, in a process of its own."""

from pathlib import Path
from time import perf_counter
from typing import Any

from dsformer.errors import DSFormerError
from dsformer.evaluation import TASKS, evaluate
from dsformer.huggingface.source import open_source
from dsformer.loading import load
from dsformer.pipeline import Compressed, compress
from dsformer.sweep.grid import Cell


def run_cell(cell: Cell, place: Path, threads: int) -> dict[str, Any]:
    """Compress and score.

    Args:
        place: the sweep's directory.
        threads: of torch.

    Returns what is known of it as JSON values; ``refused`` and why where the method cannot do what is asked.
    """
    import torch

    torch.set_num_threads(threads)
    started = perf_counter()
    try:
        found = _on_a_task(cell, place) if cell.task else _as_an_encoder(cell, place)
    except DSFormerError as error:
        found = {"refused": str(error)}
    return {**described(cell), **found, "seconds": round(perf_counter() - started, 1)}


def described(cell: Cell) -> dict[str, Any]:
    """What a row says of its cell."""
    return {
        "key": cell.key,
        "method": str(cell.variant),
        "ratio": cell.ratio,
        "task": cell.task,
        "seed": cell.seed,
    }


def make_teacher(cell: Cell, place: Path, threads: int) -> None:
    """Fine-tune the dense model that all cells of this task and seed start from."""
    import torch

    from dsformer.training.finetune import finetune

    torch.set_num_threads(threads)
    fields = cell.recipe.training.model_dump(exclude={"train", "text"})
    finetune(cell.model, teacher_place(cell, place), data_dir=cell.data_dir, **fields)


def teacher_place(cell: Cell, place: Path) -> Path:
    return place / "teachers" / cell.teacher_key


def model_place(cell: Cell, place: Path) -> Path:
    return place / "models" / cell.key


def _as_an_encoder(cell: Cell, place: Path) -> dict[str, Any]:
    output = model_place(cell, place)
    done = compress(cell.model, output, recipe=cell.recipe, data_dir=cell.data_dir, overwrite=True)
    scores = evaluate(str(output), list(cell.evaluate), cell.data_dir, original=cell.model)
    own = [name for name in cell.evaluate if name not in TASKS or not TASKS[name].needs_original]
    dense = evaluate(cell.model, own, cell.data_dir) if own else {}
    return {
        **_account(done),
        "scores": {name: score.value for name, score in scores.items()},
        "dense": {name: score.value for name, score in dense.items()},
    }


def _on_a_task(cell: Cell, place: Path) -> dict[str, Any]:
    from dsformer.training.data import of_task, score_model, the_task

    recipe, output, teacher = cell.recipe, model_place(cell, place), teacher_place(cell, place)
    task = the_task(recipe.training, None if cell.data_dir is None else Path(cell.data_dir))
    source = open_source(teacher)
    texts = of_task(task, recipe.training, source.tokenizer).sample(recipe.calibration.task_tokens)
    data_dir = cell.data_dir
    done = compress(teacher, output, recipe=recipe, texts=texts, data_dir=data_dir, overwrite=True)
    length = recipe.training.length
    dense = score_model(source.model, source.tokenizer, task, length=length)
    scores = score_model(load(output), source.tokenizer, task, length=length)
    return {
        **_account(done),
        "scores": {task.name: scores[task.metric]},
        "dense": {task.name: dense[task.metric]},
    }


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
