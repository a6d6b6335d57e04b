"""``finetune``: train a dense model on a task, as the teacher or the yardstick of a compressed one."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import PreTrainedModel, set_seed

from dsformer.errors import InputError
from dsformer.files import user_path
from dsformer.huggingface.source import quiet
from dsformer.output_directory import appearing, reserved_by_first
from dsformer.processes import by_one
from dsformer.progress import Progress, silent
from dsformer.recipe import Recipe, TrainingRecipe
from dsformer.tasks.supervised import SupervisedTask
from dsformer.training.data import of_task, score_model, the_task
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.heads import head_of, open_for_task
from dsformer.training.trainer import FactorizationTrainer, require_training, training_arguments
from dsformer.training.work import working


@dataclass(frozen=True)
class Finetuned:
    """A dense model trained on a task.

    Attributes:
        scores: on the task's evaluation part, the main metric first.
        seconds: of training.
    """

    model: PreTrainedModel
    tokenizer: Any
    task: SupervisedTask
    scores: dict[str, float]
    seconds: float
    output: Path


def finetune(
    model: str | Path,
    output: str | Path,
    *,
    recipe: Recipe | None = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
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
        progress: told about every step.
        fields: fields of the recipe's training part, such as ``task="mrpc", epochs=3``.

    Raises:
        InputError: the task or the model is not there, or does not fit.
    """
    settings = (recipe or Recipe()).merged({"training": fields}).training
    if settings.task is None:
        raise InputError("give the task to train on: task")
    require_training(settings)
    described = {"model": str(model), "training": settings.model_dump(mode="json"), "data_dir": str(data_dir or "")}
    with reserved_by_first(output, overwrite, [model]) as target:
        task = the_task(settings, None if data_dir is None else user_path(data_dir))
        started = perf_counter()
        with working(target, described) as work:
            network, tokenizer = train_dense(model, task, settings, work, progress, "finetune")
            by_one(lambda: write_dense(network, tokenizer, target))
    seconds = perf_counter() - started
    return Finetuned(
        network, tokenizer, task, score_model(network, tokenizer, task, length=settings.length), seconds, target
    )


def write_dense(network: PreTrainedModel, tokenizer: Any, target: Path) -> None:
    """Write a dense model and its tokenizer; the directory appears whole or not at all."""
    with appearing(target) as directory, quiet():
        network.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


def train_dense(
    model: str | Path, task: SupervisedTask, settings: TrainingRecipe, work: Path, progress: Progress, stage: str
) -> tuple[PreTrainedModel, Any]:
    """Train from the last checkpoint in ``work``, or from the start."""
    set_seed(settings.seed)
    network, tokenizer = open_for_task(model, task)
    if not settings.train_embeddings:
        freeze_embeddings(network)
    data = of_task(task, settings, tokenizer)
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
    return network.eval(), tokenizer
