"""Stages of training: the factors are trained, quantized, and scored on the task."""

from dataclasses import replace
from time import perf_counter
from typing import Any

from transformers import PreTrainedModel

from dsformer.calibration.batching import make_model_batches
from dsformer.data.supervised import SupervisedTask
from dsformer.evaluation.scoring import report_on
from dsformer.format.precision import FACTORS
from dsformer.format.quantized import quantize_form
from dsformer.models.hf_quantizer import attach
from dsformer.models.source import Source
from dsformer.nn.replace import quantize_factors
from dsformer.pipeline.quantize import quantize_model
from dsformer.pipeline.state import State, have
from dsformer.recipe import Recipe
from dsformer.report.summary import TrainingSummary
from dsformer.training.config import TrainingConfig
from dsformer.training.data import TrainingData
from dsformer.training.schedule import total_steps
from dsformer.utils.distributed import is_first_rank


def train(state: State) -> State:
    """Train the factors, from the last checkpoint of an unfinished run if there is one."""
    if not state.request.trains:
        return state
    network, source, data = have(state.network), have(state.source), have(state.data)
    # Imported here because it imports transformers' Trainer, which takes a second that other runs do not need.
    from dsformer.training.loop import learn

    before = score_of(_report(network, source, state.task, state.recipe.training))
    started = perf_counter()
    work = state.request.work / "training"
    learn(network, have(state.teacher), data, state.recipe.learning, work, state.task is not None, state.progress)
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


def _report(
    model: PreTrainedModel, source: Source, task: SupervisedTask | None, settings: TrainingConfig
) -> dict[str, Any] | None:
    if task is None or not is_first_rank():
        return None
    return report_on(model, source.tokenizer, task, length=settings.length)


def score_of(report: dict[str, Any] | None) -> float | None:
    """Return the main metric of a report."""
    return None if report is None else report["scores"][report["metric"]]
