"""``finetune``: train a dense model on a task, as the teacher or the yardstick of a compressed one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import PreTrainedModel, set_seed

from dsformer.data.supervised import SupervisedTask
from dsformer.data.supervised.report import FILE
from dsformer.errors import InputError
from dsformer.models.auxiliary_files import copy_companions, described
from dsformer.models.directory import ModelDirectory
from dsformer.models.heads import head_of, in_order_of, open_for_task
from dsformer.models.remote_code import trusting
from dsformer.models.source import config_of, files_of, find_directory, quiet
from dsformer.recipe import Recipe, TrainingRecipe
from dsformer.training.card import dense_card
from dsformer.training.data import of_task, report_on, the_task
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.trainer import FactorizationTrainer, require_training, training_arguments
from dsformer.training.workdir import working
from dsformer.utils.atomic_io import user_path
from dsformer.utils.distributed import by_one
from dsformer.utils.output_directory import appearing, reserved_by_first
from dsformer.utils.progress import Progress, silent


@dataclass(frozen=True)
class Finetuned:
    """A dense model trained on a task.

    Attributes:
        scores: on the task's evaluation part, the main metric first.
        seconds: of training.
        report: the scores and, for a classification, those of every class: what stands in ``metrics.json``.
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
    """Train a dense model on a task. A run that was killed goes on where it stopped when it is started again.

    Args:
        model: a directory or hub name, with or without the task's head.
        output: directory of the trained model; appears whole or not at all.
        recipe: its ``training`` part says how.
        data_dir: folder of data sets.
        overwrite: replace ``output`` if it exists.
        trust_remote_code: run Python code that comes with the model; the recipe may say so too.
        progress: told about every step.
        fields: fields of the recipe's training part, such as ``task="mrpc", epochs=3``.

    Raises:
        InputError: the task or the model is not there, or does not fit.
    """
    recipe = (recipe or Recipe()).merged({"training": fields})
    with trusting(trust_remote_code or recipe.trust_remote_code):
        return _finetune(model, output, recipe.training, data_dir, overwrite, progress)


def _finetune(
    model: str | Path,
    output: str | Path,
    settings: TrainingRecipe,
    data_dir: str | Path | None,
    overwrite: bool,
    progress: Progress,
) -> Finetuned:
    if settings.task is None:
        raise InputError("give the task to train on: task")
    require_training(settings)
    run = {"model": str(model), "training": settings.model_dump(mode="json"), "data_dir": str(data_dir or "")}
    with reserved_by_first(output, overwrite, [model]) as target:
        task = the_task(settings, None if data_dir is None else user_path(data_dir))
        started = perf_counter()
        with working(target, run) as work:
            network, tokenizer, task = train_dense(model, task, settings, work, progress, "finetune")
            seconds = perf_counter() - started
            report = report_on(network, tokenizer, task, length=settings.length)
            files = {
                "README.md": _card(model, network, task, settings, report["scores"]),
                FILE: json.dumps(report, indent=2, ensure_ascii=False),
            }
            by_one(lambda: write_dense(network, tokenizer, find_directory(model), target, files))
    return Finetuned(network, tokenizer, task, report["scores"], seconds, target, report)


def _card(
    model: str | Path,
    network: PreTrainedModel,
    task: SupervisedTask,
    settings: TrainingRecipe,
    scores: Mapping[str, float],
) -> str:
    source = find_directory(model)
    sentences = files_of(network, source).task is not None
    known: dict[str, Any] = described(source.top) | {
        "architecture": type(network).__name__,
        "library_name": "sentence-transformers" if sentences else "transformers",
    }
    return dense_card(model, task, scores, settings, known)


def write_dense(
    network: PreTrainedModel, tokenizer: Any, source: ModelDirectory, target: Path, files: Mapping[str, str] = {}
) -> None:
    """Write a dense model, its tokenizer and what else was beside it; the directory appears whole or not at all.

    Args:
        network: the model.
        tokenizer: its tokenizer.
        source: what was trained.
        target: the directory.
        files: further files by name.
    """
    with appearing(target) as directory, quiet():
        network.save_pretrained(directory)
        copy_companions(files_of(network, source), directory, tokenizer)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")


def train_dense(
    model: str | Path, task: SupervisedTask, settings: TrainingRecipe, work: Path, progress: Progress, stage: str
) -> tuple[PreTrainedModel, Any, SupervisedTask]:
    """Train from the last checkpoint in ``work``, or from the start.

    Returns the model, its tokenizer, and the task with its classes numbered as the model has them.
    """
    set_seed(settings.seed)
    network, tokenizer = open_for_task(model, task)
    task = in_order_of(config_of(model), task)
    if not settings.train_embeddings:
        freeze_embeddings(network)
    data = of_task(task, settings, tokenizer, network)
    with quiet():
        trainer = FactorizationTrainer(
            model=network,
            args=training_arguments(settings, work, len(data.features)),
            train_dataset=data.features,
            data_collator=data.collate,
            settings=settings,
            head=[p for p in head_of(network).values() if p.requires_grad],
            progress=progress,
            stage=stage,
        )
        trainer.go_on(work)
    return network.eval(), tokenizer, task
