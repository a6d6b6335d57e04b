"""Stage: calibration. The dense model runs on its calibration text, which shows its blocks and their inputs."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from dsformer.calibration.batching import make_model_batches
from dsformer.calibration.calibrate import calibrate as measure
from dsformer.calibration.replaceable import keep_replaceable
from dsformer.calibration.trace import Tracing, trace
from dsformer.data import bundled_passages, read_texts
from dsformer.data.text import Text
from dsformer.errors import DSFormerError, InputError
from dsformer.factorization.methods import METHODS
from dsformer.models.checkpoint import first_line
from dsformer.models.layer_dropping import drop_layers
from dsformer.pipeline.state import State, have
from dsformer.recipe import Recipe
from dsformer.training.data import sample_training_text

# Operations that measuring sensitivities may take. Larger models run on fewer texts, but on no fewer than LEAST_PROBES.
PROBE_OPERATIONS, LEAST_PROBES = 3e13, 2


def calibrate(state: State) -> State:
    """Find the blocks of the dense model and measure the second moments of their inputs.

    Raises:
        InputError: the model does not run on plain text, or has nothing to compress.
    """
    recipe, source, settings = state.recipe, have(state.source), state.recipe.calibration
    method, model = METHODS[recipe.method], source.model
    texts = calibration_texts(state)
    dropped = drop_layers(model, recipe.ratio) if method.drops_layers else []
    batches = make_model_batches(model, source.tokenizer, texts, settings.length, settings.batch_size)
    tracing = _traced(model, batches[-1], recipe, stacked=not method.per_layer)
    tracing = keep_replaceable(model, batches[-1], tracing, recipe.factors != "float" or method.quantizes)
    tables = tracing.tables if recipe.with_embeddings else []

    def tick(done: int) -> None:
        state.progress("calibrate", done, len(batches))

    statistics = measure(model, batches, tracing.blocks, tables, settings.weighting, tick, settings.cache)
    probe = probe_batch(model, batches, len(tracing.blocks + tables))
    return replace(state, dropped=dropped, tracing=tracing, statistics=statistics, probe=probe)


def calibration_texts(state: State) -> list[Text]:
    """Return the texts of the request, the recipe's file or the training data, or else the bundled sample of books."""
    request, source, settings = state.request, have(state.source), state.recipe.calibration
    if request.texts is not None:
        return list(request.texts)
    if settings.text is not None:
        return [*read_texts(settings.text, settings.column)[: settings.passages]]
    if state.data is not None:
        return state.data.sample(settings)
    training = state.recipe.training
    found = sample_training_text(training, settings, request.data_dir, source.tokenizer, source.model)
    return [*bundled_passages(min(settings.passages, 512))] if found is None else found


def _traced(model: PreTrainedModel, batch: dict[str, Tensor], recipe: Recipe, stacked: bool) -> Tracing:
    """Trace the model, in its first run: a model that needs more than plain text (multiple choice, images) fails here.

    Raises:
        InputError: the model cannot be run on plain text.
    """
    try:
        return trace(model, batch, recipe.include, recipe.exclude, stacked)
    except DSFormerError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be run on plain text, so it cannot be calibrated ({first_line(error)})"
        ) from error


def probe_batch(model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], blocks: int) -> dict[str, Tensor]:
    """Select the batch of median length, or as many of its texts as a model of this size can afford.

    Args:
        model: the model to run.
        batches: longest first.
        blocks: how many times it will be run on the batch.
    """
    middle = batches[len(batches) // 2]
    length = next(iter(middle.values())).shape[1]
    text = 2 * model.num_parameters() * length * blocks
    texts = max(LEAST_PROBES, int(PROBE_OPERATIONS / text))
    return {name: values[:texts] for name, values in middle.items()}
