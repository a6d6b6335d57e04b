"""Stages of the dense model: vocabulary pruning, fine-tuning on the task, and opening."""

from dataclasses import replace
from pathlib import Path

from dsformer.data.supervised import SupervisedTask
from dsformer.errors import InputError
from dsformer.models.heads import align_classes, has_head, has_loss_of
from dsformer.models.source import find_directory, open_config, open_source
from dsformer.pipeline.state import State
from dsformer.training.data import load_training_task, tokenize_task, tokenize_text
from dsformer.utils.distributed import run_on_first_rank
from dsformer.vocabulary.stage import write_with_vocabulary


def prune_vocabulary(state: State) -> State:
    """Remove the tokens that the recipe's texts do not have.

    Raises:
        InputError: as of :func:`dsformer.vocabulary.prune.prune_vocabulary`.
    """
    corpus, place = state.recipe.vocabulary, state.request.work / "vocabulary"
    if corpus is None:
        return state
    run_on_first_rank(lambda: None if place.is_dir() else write_with_vocabulary(state.dense, corpus, place))
    return replace(state, dense=place)


def finetune(state: State) -> State:
    """Fine-tune the dense model, the future teacher, on the recipe's task, unless it has the task's head."""
    request, settings = state.request, state.recipe.training
    if not request.trains or settings.train == "distill":
        return state
    model = _saved(state)
    task = align_classes(open_config(model), load_training_task(settings, request.data_dir))
    config = open_config(model)
    if has_head(config, task) and has_loss_of(config, task.kind):
        return replace(state, task=task)
    return replace(state, dense=_teacher(state, model, task), task=task)


def _teacher(state: State, model: str | Path, task: SupervisedTask) -> Path:
    """Return the directory of the model fine-tuned on the task."""
    # Imported here because it imports transformers' Trainer, which takes a second that other runs do not need.
    from dsformer.training.finetune import train_dense, write_dense

    request, directory = state.request, state.request.work / "teacher"
    if not directory.is_dir():
        work = request.work / "finetuning"
        network, tokenizer, _ = train_dense(model, task, state.recipe.training, work, request.progress, "finetune")
        run_on_first_rank(lambda: write_dense(network, tokenizer, find_directory(model), directory))
    return directory


def open_dense(state: State) -> State:
    """Open the dense model, and the data it will be trained on."""
    request, settings = state.request, state.recipe.training
    source = open_source(state.dense, request.tokenizer)
    if isinstance(request.model, str | Path):
        source = replace(source, name=str(request.model))
    state = replace(state, source=source)
    if not request.trains:
        return state
    if state.task is not None:
        return replace(state, data=tokenize_task(state.task, settings, source.tokenizer, source.model))
    if settings.train == "distill":
        return replace(state, data=tokenize_text(settings, source.tokenizer, source.model))
    return state


def _saved(state: State) -> str | Path:
    """Return where the dense model is saved.

    Raises:
        InputError: it is only in memory.
    """
    if not isinstance(state.dense, str | Path):
        raise InputError("training starts from a directory or a hub name, not from a model in memory")
    return state.dense
