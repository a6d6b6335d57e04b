"""``compress``: calibrate, allocate, factorize, save."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dsformer.allocation.basis_sharing import share
from dsformer.allocation.plan import Job, Plan
from dsformer.calibration.symmetry import reorder
from dsformer.data.text import Text
from dsformer.errors import InputError, UnreachableError
from dsformer.factorization.channel_removal import keep
from dsformer.factorization.methods import METHODS, fit_weight
from dsformer.factorization.search import Fitted
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.quantized import RoundedForm
from dsformer.format.schema import BlockConfig
from dsformer.models.artefact import save
from dsformer.models.casting import cast, keep_wide
from dsformer.models.checkpoint import first_line
from dsformer.models.quantizer import attach
from dsformer.models.remote_code import trusting
from dsformer.models.source import quiet
from dsformer.nn.replace import install_forms
from dsformer.nn.resize import narrow, split_rows
from dsformer.pipeline.prepare import Prepared, prepare_from
from dsformer.pipeline.quantize import rounded
from dsformer.recipe import Recipe
from dsformer.report.summary import BlockSummary, Summary, summarise
from dsformer.utils.atomic_io import user_path
from dsformer.utils.distributed import count
from dsformer.utils.output_directory import reserved
from dsformer.utils.progress import Progress, silent
from dsformer.utils.threads import as_done
from dsformer.vocabulary.stage import with_vocabulary


@dataclass(frozen=True)
class Compressed:
    """The compressed model (in memory; also at ``output`` if that was given) and what happened to it."""

    model: PreTrainedModel
    tokenizer: Any
    summary: Summary
    output: Path | None


def compress(
    model: str | Path | PreTrainedModel,
    output: str | Path | None = None,
    *,
    recipe: Recipe | None = None,
    tokenizer: Any = None,
    texts: Sequence[Text] | None = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **fields: Any,
) -> Compressed:
    """Write every linear weight of a transformer as a dense matrix times a sparse one.

    With ``training`` in the recipe the factorizations are then learned on a task or on plain text; such a run keeps its
    work in ``OUTPUT.work`` and, when it was killed, goes on where it stopped.

    Args:
        model: a Hugging Face or sentence-transformers directory, one of peft adapters, a GGUF file, a hub name, or a
            model (changed in place).
        output: directory of the compressed model; appears whole or not at all.
        recipe: how; fields not given keep their defaults.
        tokenizer: needed with a model given as an object.
        texts: calibration texts, or pairs of them, instead of the recipe's file, the task's text or the bundled sample.
        data_dir: folder of data sets, of the recipe's task.
        overwrite: replace ``output`` if it exists.
        progress: told about every step.
        fields: recipe fields by name, such as ``ratio=2.8, pattern="grouped(8)"``.

    Raises:
        InputError: anything that cannot be compressed as asked; nothing has been written then.
    """
    recipe = (recipe or Recipe()).merged(fields)
    with trusting(recipe.trust_remote_code):
        return _compress(model, output, recipe, tokenizer, texts, data_dir, overwrite, progress)


def _compress(
    model: str | Path | PreTrainedModel,
    output: str | Path | None,
    recipe: Recipe,
    tokenizer: Any,
    texts: Sequence[Text] | None,
    data_dir: str | Path | None,
    overwrite: bool,
    progress: Progress,
) -> Compressed:
    if recipe.training.train != "none":
        from dsformer.pipeline.staged import compress_and_train

        if tokenizer is not None:
            raise InputError("training takes the tokenizer that the model was saved with; save yours with it")
        folder = None if data_dir is None else user_path(data_dir)
        return compress_and_train(model, output, recipe, texts, folder, overwrite, progress, once)
    if count() > 1:
        raise InputError("only training can be shared by several processes; start this without torchrun")
    words = {"tokenizer": tokenizer, "texts": texts, "data_dir": data_dir, "overwrite": overwrite}
    return once(model, output, recipe, **words, progress=progress)


def once(
    model: str | Path | PreTrainedModel,
    output: str | Path | None,
    recipe: Recipe,
    *,
    tokenizer: Any = None,
    texts: Sequence[Text] | None = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Compressed:
    """Compress without training. Arguments and errors as of :func:`compress`."""
    started = perf_counter()
    read = [model] if isinstance(model, str | Path) else []
    place = nullcontext() if output is None else reserved(output, overwrite, read)
    with place as target, with_vocabulary(model, recipe.vocabulary) as start:
        prepared = prepare_from(start, model, recipe, tokenizer, texts, data_dir, progress)
        return _compressed(prepared, target, overwrite, started, progress)


def _compressed(
    prepared: Prepared, output: Path | None, overwrite: bool, started: float, progress: Progress
) -> Compressed:
    """Factorize, install and save what was prepared."""
    jobs, fitted = factorize(prepared.plan, prepared.recipe, progress)
    blocks = install(prepared, jobs, fitted)
    if METHODS[prepared.recipe.method].structured:
        _require_run(prepared.source.model, prepared.probe)
    summary = summarise(
        prepared.source.name,
        prepared.recipe,
        prepared.plan,
        prepared.tracing,
        [BlockSummary.of(job, one, prepared.plan.types) for job, one in zip(jobs, fitted, strict=True)],
        prepared.statistics.tokens,
        perf_counter() - started,
    )
    network = prepared.source.model
    attach(network, blocks, summary.as_dict())
    if output is not None:
        with quiet():
            save(network, output, source=prepared.source, overwrite=overwrite)
    keep_wide(network)
    return Compressed(network, prepared.source.tokenizer, summary, output)


def _require_run(model: PreTrainedModel, batch: dict[str, Tensor]) -> None:
    """Raises UnreachableError: without what structured pruning took out, the layers do not fit each other."""
    try:
        with torch.no_grad():
            model(**batch)
    except (RuntimeError, ValueError, IndexError) as error:
        raise UnreachableError(
            f"structured: {type(model).__name__} cannot be run without some of its channels ({first_line(error)})"
        ) from error


def factorize(plan: Plan, recipe: Recipe, progress: Progress = silent) -> tuple[list[Job], list[Fitted]]:
    """Search and fit every block, side by side with one thread each: results do not depend on how many there are.

    Blocks whose rows may change places come first; the model is reordered by what their groups want, and the blocks
    that read them follow. Returns the jobs, as they stand after that, and their forms.
    """
    jobs = {job.block.name: job for job in plan.jobs}
    readers = {job.exchange.reader for job in plan.jobs if job.exchange}
    results: dict[str, Fitted] = {}
    progress("factorize", 0, len(jobs))

    def tick() -> None:
        progress("factorize", len(results), len(jobs))

    _fit_all([job for job in plan.jobs if job.block.name not in readers], recipe, results, tick)
    for job in plan.jobs:
        if job.exchange and (order := results[job.block.name].form.permutation) is not None:
            fitted, reader = results[job.block.name], jobs[job.exchange.reader]
            results[job.block.name] = replace(fitted, form=fitted.form.in_own_order())
            reorder(job.block, reader.block, job.exchange, order)
            jobs[job.exchange.reader] = reader.reordered(job.exchange.read(order, reader.block.shape[1]))
    _fit_all([job for name, job in jobs.items() if name in readers], recipe, results, tick)
    done = list(jobs.values()), [results[name] for name in jobs]
    return share(*done, recipe, partial(progress, "share")) if recipe.share_dictionaries else done


def _fit_all(jobs: Sequence[Job], recipe: Recipe, results: dict[str, Fitted], tick: Callable[[], None]) -> None:
    pattern, effort = Pattern.parse(recipe.pattern), recipe.effort.as_effort()
    precision = recipe.fitted_precision

    def work(job: Job) -> Fitted:
        with torch.no_grad():
            weight = job.weight()
            try:
                if job.kept is not None:
                    return keep(weight, job.kept, precision)
                fitted = fit_weight(weight, job.budget, pattern, recipe.method, effort)
                return fitted if precision is None else rounded(fitted, weight, precision)
            except InputError as error:
                raise type(error)(f"{job.block.name}: {error}") from None

    # Largest first, so that no long job is left for the end.
    order = sorted(jobs, key=lambda job: -job.block.shape[0] * job.block.shape[1] ** 2)
    for job, fitted in as_done(work, order):
        results[job.block.name] = fitted
        tick()


def install(prepared: Prepared, jobs: Sequence[Job], fitted: Sequence[Fitted]) -> list[BlockConfig]:
    """Put the forms into the model. Returns what the artefact says about them."""
    recipe, network = prepared.recipe, prepared.source.model
    for job in jobs:
        if job.kept is not None:
            narrow(network, job.block.names, job.kept)
    blocks = [_described(job, one.form) for job, one in zip(jobs, fitted, strict=True)]
    if recipe.dtype != "keep":
        cast(network, getattr(torch, recipe.dtype))
    install_forms(network, blocks, [one.form for one in fitted])
    return blocks


def _described(job: Job, form: Form | RoundedForm) -> BlockConfig:
    block = job.block
    precision = form.precision if isinstance(form, RoundedForm) else None
    members, kept = list(zip(block.names, block.members, strict=True)), job.kept
    if kept is None:
        return BlockConfig.of(block.kind, members, form.spec, block.tied, precision, block.inputs)
    left = [len(rows) for rows in split_rows(kept.rows, block.members)] if kept.rows is not None else block.members
    stacked = BlockConfig.of(block.kind, list(zip(block.names, left, strict=True)), form.spec, (), precision)
    return stacked.replacing(block.members, block.shape[1], kept.heads)
