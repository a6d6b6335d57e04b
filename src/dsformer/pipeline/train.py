"""Stages of training: the factors are trained, quantized, and scored on the task."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import PreTrainedModel, set_seed

from dsformer.calibration.batching import make_model_batches
from dsformer.data.supervised import SupervisedTask
from dsformer.errors import InputError
from dsformer.evaluation.scoring import report_on
from dsformer.format.precision import FACTORS
from dsformer.format.quantized import quantize_form
from dsformer.models.heads import align_classes, open_for_task
from dsformer.models.pooling import read_pooling
from dsformer.models.quantizer import attach
from dsformer.models.source import Source, open_config
from dsformer.nn.replace import quantize_factors
from dsformer.pipeline.quantize import quantize_model
from dsformer.pipeline.state import State, have
from dsformer.recipe import Recipe
from dsformer.report.summary import TrainingSummary
from dsformer.training.config import TrainingConfig
from dsformer.training.data import TrainingData
from dsformer.training.schedule import total_steps
from dsformer.training.teacher import Teacher
from dsformer.utils.distributed import is_first_rank


def train(state: State) -> State:
    """Train the factors, from the last checkpoint of an unfinished run if there is one."""
    if not state.request.trains:
        return state
    network, source, data = have(state.network), have(state.source), have(state.data)
    # Imported here because it imports transformers' Trainer, which takes a second that other runs do not need.
    from dsformer.training.loop import learn

    teacher = replace(teacher_of(source, state.task), untrained=_untrained(state))
    before = score_of(_report(network, source, state.task, state.recipe.training))
    started = perf_counter()
    work = state.request.work / "training"
    learn(network, teacher, data, state.recipe.learning, work, state.task is not None, state.progress)
    trained = account(state.recipe.training, state.task, data, perf_counter() - started)
    trained = replace(trained, factorized=before)
    return replace(state, summary=replace(have(state.summary), training=trained))


def quantize(state: State) -> State:
    """Quantize trained factors; without training they were quantized as they were fitted."""
    if state.request.trains:
        quantize_trained(have(state.network), state.recipe, have(state.data), have(state.source).tokenizer)
    return state


def evaluate(state: State) -> State:
    """Score the compressed and the dense model on the task."""
    summary = have(state.summary)
    if summary.training is None or state.task is None:
        return state
    source, settings = have(state.source), state.recipe.training
    report = _report(have(state.network), source, state.task, settings)
    dense = score_of(_report(source.model, source, state.task, settings))
    scored = replace(summary.training, dense=dense, trained=score_of(report))
    return replace(state, summary=replace(summary, training=scored), report=report)


def quantize_trained(network: PreTrainedModel, recipe: Recipe, data: TrainingData, tokenizer: Any) -> None:
    """Quantize the factors of a trained model in place, as its recipe asks.

    Args:
        network: compressed.
        recipe: its ``factors`` give the integer types, its calibration how the inputs of layers are measured.
        data: the training data.
        tokenizer: the model's.
    """
    if recipe.factors not in FACTORS:
        return
    config, how, precision = network.config.quantization_config, recipe.calibration, FACTORS[recipe.factors]
    if recipe.training.rounding_aware:
        # Quantization-aware training has used rounding to nearest.
        blocks = quantize_factors(network, config.blocks, lambda block, form: quantize_form(form, precision))
    else:
        batches = make_model_batches(network, tokenizer, data.sample(how), how.length, how.batch_size)
        blocks = quantize_model(network, config.blocks, batches, precision)
    attach(network, blocks, config.summary)


def account(
    settings: TrainingConfig, task: SupervisedTask | None, data: TrainingData, seconds: float
) -> TrainingSummary:
    """Summarize the training, without scores.

    Args:
        settings: of the training.
        task: the task trained on; None: the dense model was distilled on plain text.
        data: the training data.
        seconds: its duration.
    """
    return TrainingSummary(
        learner=settings.learner,
        distill="+".join(settings.terms) or "none",
        task=None if task is None else task.name,
        scored=None if task is None else task.scored,
        metric=None if task is None else task.metric,
        dense=None,
        factorized=None,
        trained=None,
        steps=total_steps(settings, len(data.features)),
        seconds=seconds,
    )


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


def _report(
    model: PreTrainedModel, source: Source, task: SupervisedTask | None, settings: TrainingConfig
) -> dict[str, Any] | None:
    if task is None or not is_first_rank():
        return None
    return report_on(model, source.tokenizer, task, length=settings.length)


def score_of(report: dict[str, Any] | None) -> float | None:
    """Return the main metric of a report."""
    return None if report is None else report["scores"][report["metric"]]
