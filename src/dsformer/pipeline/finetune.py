"""``finetune``: trains a dense model on a task, as the teacher or the baseline of a compressed one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import PreTrainedModel

from dsformer.data.supervised import SupervisedTask
from dsformer.data.supervised.report import FILE
from dsformer.errors import InputError
from dsformer.evaluation.scoring import report_on
from dsformer.models.auxiliary_files import read_card_metadata
from dsformer.models.remote_code import trusting
from dsformer.models.source import find_directory, find_files
from dsformer.pipeline.workdir import working
from dsformer.recipe import Recipe
from dsformer.training.card import make_dense_card
from dsformer.training.config import TrainingConfig
from dsformer.training.data import load_training_task
from dsformer.training.finetune import train_dense, write_dense
from dsformer.training.schedule import require_training
from dsformer.utils.atomic_io import user_path
from dsformer.utils.distributed import run_on_first_rank
from dsformer.utils.output_directory import reserve_on_first_rank
from dsformer.utils.progress import Progress, silent


@dataclass(frozen=True)
class Finetuned:
    """A dense model trained on a task.

    Attributes:
        model: the trained model.
        tokenizer: its tokenizer.
        task: its classes are numbered as in the model.
        scores: on the task's evaluation part, the main metric first.
        seconds: of training.
        output: directory of the model.
        report: the scores and, for a classification, those of every class: the contents of ``metrics.json``.
    """

    model: PreTrainedModel
    tokenizer: Any
    task: SupervisedTask
    scores: dict[str, float]
    seconds: float
    output: Path
    report: dict[str, Any]


def finetune(
    model: str | Path,
    output: str | Path,
    *,
    recipe: Recipe | None = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    progress: Progress = silent,
    **fields: Any,
) -> Finetuned:
    """Train a dense model on a task. A run that was killed continues when the same call is made again.

    Args:
        model: a directory or hub name, with or without the task's head.
        output: directory of the trained model; appears whole or not at all.
        recipe: its ``training`` part says how to train.
        data_dir: folder of data sets.
        overwrite: replace ``output`` if it exists.
        trust_remote_code: run Python code that comes with the model; the recipe may permit it too.
        progress: notified of every step.
        fields: fields of the recipe's training part, such as ``task="mrpc", epochs=3``.

    Raises:
        InputError: the task or the model does not exist, or they do not fit each other.
    """
    recipe = (recipe or Recipe()).merged({"training": fields})
    with trusting(trust_remote_code or recipe.trust_remote_code):
        return _finetune(model, output, recipe.training, data_dir, overwrite, progress)


def _finetune(
    model: str | Path,
    output: str | Path,
    settings: TrainingConfig,
    data_dir: str | Path | None,
    overwrite: bool,
    progress: Progress,
) -> Finetuned:
    if settings.task is None:
        raise InputError("give the task to train on: task")
    require_training(settings)
    run = {"model": str(model), "training": settings.model_dump(mode="json"), "data_dir": str(data_dir or "")}
    with reserve_on_first_rank(output, overwrite, [model]) as target:
        task = load_training_task(settings, None if data_dir is None else user_path(data_dir))
        started = perf_counter()
        with working(target, run) as work:
            network, tokenizer, task = train_dense(model, task, settings, work, progress, "finetune")
            seconds = perf_counter() - started
            report = report_on(network, tokenizer, task, length=settings.length)
            files = {
                "README.md": _card(model, network, task, settings, report["scores"]),
                FILE: json.dumps(report, indent=2, ensure_ascii=False),
            }
            run_on_first_rank(lambda: write_dense(network, tokenizer, find_directory(model), target, files))
    return Finetuned(network, tokenizer, task, report["scores"], seconds, target, report)


def _card(
    model: str | Path,
    network: PreTrainedModel,
    task: SupervisedTask,
    settings: TrainingConfig,
    scores: Mapping[str, float],
) -> str:
    source = find_directory(model)
    sentences = find_files(network, source).task is not None
    library = "sentence-transformers" if sentences else "transformers"
    return make_dense_card(
        model, task, scores, settings, type(network).__name__, library, read_card_metadata(source.top)
    )
