"""Stages of the dense model: vocabulary pruning, fine-tuning on the task, and opening."""

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, set_seed

from dsformer.data.supervised import SupervisedTask
from dsformer.errors import InputError
from dsformer.models.heads import align_classes, has_head, has_loss_of, open_for_task
from dsformer.models.pooling import read_pooling
from dsformer.models.source import Source, find_directory, open_config, open_source
from dsformer.pipeline.state import State, have
from dsformer.training.data import load_training_task, tokenize_task, tokenize_text
from dsformer.training.teacher import Teacher
from dsformer.utils.distributed import run_on_first_rank
from dsformer.vocabulary.prune import write_with_vocabulary


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
    model = state.dense
    assert isinstance(model, str | Path)  # compress() refuses to train a model in memory
    config = open_config(model)
    task = align_classes(config, load_training_task(settings, request.data_dir))
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
    """Open the dense model: as the source, as the teacher, and with the data that are trained on."""
    request, settings = state.request, state.recipe.training
    source = open_source(state.dense, request.tokenizer)
    if isinstance(request.model, str | Path):
        source = replace(source, name=str(request.model))
    state = replace(state, source=source)
    if state.task is not None:
        data = tokenize_task(state.task, settings, source.tokenizer, source.model)
    elif settings.train == "distill":
        data = tokenize_text(settings, source.tokenizer, source.model)
    else:
        return state
    # Made before the work: a model that cannot teach is refused at once.
    teacher = replace(teacher_of(source, state.task), untrained=_untrained(state))
    return replace(state, data=data, teacher=teacher)


def teacher_of(source: Source, task: SupervisedTask | None) -> Teacher:
    """Return the dense model as a teacher: in the class it was saved from, or without a head for a sentence encoder."""
    pooling = read_pooling(source.directory) if task is None and source.directory is not None else None
    return Teacher(source.model, source.tokenizer, pooling)


def _untrained(state: State) -> PreTrainedModel | None:
    """Load the dense model as it was before it was trained on the task, for a recipe that trains dense weights."""
    settings, source, task = state.recipe.training, have(state.source), state.task
    asked_for = state.request.model
    fine_tuned = state.request.work / "teacher"
    start: str | Path | None = settings.start
    if start is None and state.dense == fine_tuned:
        pruned = state.request.work / "vocabulary"
        assert isinstance(asked_for, str | Path)
        start = pruned if state.recipe.vocabulary is not None else asked_for
    if start is None or task is None or not state.recipe.trains_weights:
        return None
    # A new head is then the one that the dense model began with.
    set_seed(settings.seed)
    network, _ = open_for_task(start, task)
    if align_classes(open_config(start), task) is not task:
        raise InputError(f"training.start: {start} has the task's classes in another order than {asked_for}")
    shapes = {name: values.shape for name, values in network.state_dict().items()}
    if shapes != {name: values.shape for name, values in source.model.state_dict().items()}:
        raise InputError(f"training.start: {start} is not the model that {asked_for} was before it learned the task")
    return network
