"""Fine-tuning of a dense model on a task, and writing the result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from dsformer.data.supervised import SupervisedTask
from dsformer.models.auxiliary_files import copy_auxiliary_files
from dsformer.models.directory import ModelDirectory
from dsformer.models.heads import align_classes, get_head, open_for_task
from dsformer.models.source import find_files, open_config, quiet
from dsformer.training.config import TrainingConfig
from dsformer.training.data import tokenize_task
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.trainer import FactorizationTrainer, training_arguments
from dsformer.utils.output_directory import write_atomically
from dsformer.utils.progress import Progress


def write_dense(
    network: PreTrainedModel, tokenizer: Any, source: ModelDirectory, target: Path, files: Mapping[str, str] = {}
) -> None:
    """Write a dense model, its tokenizer and the other files of its source; the directory appears whole or not at all.

    Args:
        network: the model.
        tokenizer: its tokenizer.
        source: the directory of the model before training.
        target: the directory to write.
        files: contents of further files by name.
    """
    with write_atomically(target) as directory, quiet():
        network.save_pretrained(directory)
        copy_auxiliary_files(find_files(network, source), directory, tokenizer)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")


def train_dense(
    model: str | Path, task: SupervisedTask, settings: TrainingConfig, work: Path, progress: Progress, stage: str
) -> tuple[PreTrainedModel, Any, SupervisedTask]:
    """Fine-tune a dense model, from the last checkpoint in ``work`` if there is one.

    Args:
        model: a directory or a hub name.
        task: with training data.
        settings: of training.
        work: directory of checkpoints.
        progress: notified of every step.
        stage: the name of this stage for ``progress`` and for errors.

    Returns:
        The model, its tokenizer, and the task with its classes numbered as in the model.
    """
    set_seed(settings.seed)
    network, tokenizer = open_for_task(model, task)
    task = align_classes(open_config(model), task)
    if not settings.train_embeddings:
        freeze_embeddings(network)
    data = tokenize_task(task, settings, tokenizer, network)
    with quiet():
        trainer = FactorizationTrainer(
            model=network,
            args=training_arguments(settings, work, len(data.features)),
            train_dataset=data.features,
            data_collator=data.collate,
            settings=settings,
            head=[p for p in get_head(network).values() if p.requires_grad],
            progress=progress,
            stage=stage,
        )
        trainer.go_on(work)
    return network.eval(), tokenizer, task
