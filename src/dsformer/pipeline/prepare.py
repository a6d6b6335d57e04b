"""Everything before the factorization: the model is opened, run on its calibration text, and given its budgets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from dsformer.allocation.plan import Plan, make_plan
from dsformer.calibration.batching import model_batches
from dsformer.calibration.calibrate import calibrate
from dsformer.calibration.replaceable import replaceable
from dsformer.calibration.second_moments import Statistics
from dsformer.calibration.trace import Tracing, trace
from dsformer.data import bundled_passages, read_texts
from dsformer.data.text import Text
from dsformer.errors import DSFormerError, InputError
from dsformer.factorization.methods import METHODS
from dsformer.format.pattern import Pattern
from dsformer.models.checkpoint import first_line
from dsformer.models.layer_dropping import shorten
from dsformer.models.remote_code import trusting
from dsformer.models.source import Source, open_source
from dsformer.recipe import Recipe
from dsformer.utils.progress import Progress, silent
from dsformer.vocabulary.stage import with_vocabulary

# What measuring sensitivities may cost, in operations; models with more have fewer texts, but no fewer than that.
PROBE_OPERATIONS, LEAST_PROBES = 3e13, 2


@dataclass(frozen=True)
class Prepared:
    """A model that was run on its calibration text, some of which is its ``probe``, with a budget for every block."""

    source: Source
    recipe: Recipe
    tracing: Tracing
    statistics: Statistics
    plan: Plan
    probe: dict[str, Tensor]


def prepare(
    model: str | Path | PreTrainedModel,
    *,
    recipe: Recipe | None = None,
    tokenizer: Any = None,
    texts: Sequence[Text] | None = None,
    data_dir: str | Path | None = None,
    progress: Progress = silent,
    **fields: Any,
) -> Prepared:
    """Everything before the factorization: what ``--dry-run`` shows. Raises InputError as :func:`compress`."""
    recipe = (recipe or Recipe()).merged(fields)
    with trusting(recipe.trust_remote_code), with_vocabulary(model, recipe.vocabulary) as start:
        return prepare_from(start, model, recipe, tokenizer, texts, data_dir, progress)


def prepare_from(
    start: str | Path | PreTrainedModel,
    model: str | Path | PreTrainedModel,
    recipe: Recipe,
    tokenizer: Any,
    texts: Sequence[Text] | None,
    data_dir: str | Path | None,
    progress: Progress,
) -> Prepared:
    """The same from a model that has the recipe's vocabulary.

    Args:
        start: that model.
        model: what was asked for, which the result is named after, wherever it was read from.
        recipe: how.
        tokenizer: instead of the model's own.
        texts: calibration texts, instead of those the recipe says.
        data_dir: folder of data sets.
        progress: told about every step.
    """
    source = open_source(start, tokenizer)
    if isinstance(model, str | Path):
        source = replace(source, name=str(model))
    texts = list(texts) if texts is not None else calibration_texts(recipe, source, data_dir)
    settings = recipe.calibration
    method = METHODS[recipe.method]
    dropped = shorten(source.model, recipe.ratio) if method.shallow else []
    prepared = model_batches(source.model, source.tokenizer, texts, settings.length, settings.batch_size)
    tracing = _traced(source.model, prepared[-1], recipe, stacked=not method.apart)
    tracing = replaceable(source.model, prepared[-1], tracing, recipe.factors != "float" or method.rounds)
    tables = tracing.tables if recipe.with_embeddings else []
    statistics = calibrate(
        source.model,
        prepared,
        tracing.blocks,
        tables,
        settings.weighting,
        lambda done: progress("calibrate", done, len(prepared)),
        settings.cache,
    )
    probe = _probe(source.model, prepared, len(tracing.blocks + tables))
    plan = make_plan(source.model, tracing, statistics, recipe, [probe], progress, dropped)
    _require_groups(plan, Pattern.parse(recipe.pattern))
    return Prepared(source, recipe, tracing, statistics, plan, probe)


def _traced(model: PreTrainedModel, batch: dict[str, Tensor], recipe: Recipe, stacked: bool) -> Tracing:
    """The model's first run: one that plain text is not enough for (multiple choice, pictures) says so here."""
    try:
        return trace(model, batch, recipe.include, recipe.exclude, stacked)
    except DSFormerError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be run on plain text, so it cannot be calibrated ({first_line(error)})"
        ) from error


def _require_groups(plan: Plan, pattern: Pattern) -> None:
    """Raises InputError: a pattern that groups rows fits no layer, so that all would be of low rank."""
    if all(size % pattern.group for job in plan.jobs for size in (*job.block.members, job.block.shape[1])):
        raise InputError(f"pattern {pattern}: no layer's rows can be divided into groups of {pattern.group}")


def _probe(model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], blocks: int) -> dict[str, Tensor]:
    """The batch of middling length, or as many of its texts as a model of this size and number of blocks can afford."""
    middle = batches[len(batches) // 2]
    length = next(iter(middle.values())).shape[1]
    text = 2 * model.num_parameters() * length * blocks
    texts = max(LEAST_PROBES, int(PROBE_OPERATIONS / text))
    return {name: values[:texts] for name, values in middle.items()}


def calibration_texts(recipe: Recipe, source: Source, data_dir: str | Path | None) -> list[Text]:
    """The recipe's text file, the text of its task or the one to distil on, or the bundled sample of books."""
    from dsformer.training.data import text_to_calibrate

    settings = recipe.calibration
    if settings.text is not None:
        return [*read_texts(settings.text, settings.column)[: settings.passages]]
    folder = None if data_dir is None else Path(data_dir)
    found = text_to_calibrate(recipe.training, settings, folder, source.tokenizer, source.model)
    return [*bundled_passages(min(settings.passages, 512))] if found is None else found
