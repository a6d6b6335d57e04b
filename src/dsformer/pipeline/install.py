"""Stage: compressed layers with the fitted forms replace the dense ones."""

from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dsformer.allocation.planned_block import FittedBlock
from dsformer.errors import UnreachableError
from dsformer.factorization.methods import METHODS
from dsformer.format.quantized import QuantizedForm
from dsformer.format.schema import BlockConfig
from dsformer.models.casting import cast_model
from dsformer.models.checkpoint import first_line
from dsformer.models.hf_quantizer import attach
from dsformer.nn.replace import install_forms
from dsformer.nn.resize import narrow_layers, split_rows
from dsformer.pipeline.state import State, have
from dsformer.report.block_summary import BlockSummary
from dsformer.report.summary import summarize


def install(state: State) -> State:
    """Put the forms into the model, and the summary of the compression into its configuration.

    Raises:
        UnreachableError: after structured pruning the model's layers do not fit each other.
    """
    recipe, source, plan, tracing = state.recipe, have(state.source), have(state.plan), have(state.tracing)
    network = source.model
    for fitted in state.blocks:
        if fitted.planned.kept is not None:
            narrow_layers(network, fitted.block.names, fitted.planned.kept)
    configs = [config_of_block(fitted) for fitted in state.blocks]
    if recipe.dtype != "keep":
        cast_model(network, getattr(torch, recipe.dtype))
    install_forms(network, configs, [fitted.fitted.form for fitted in state.blocks])
    if METHODS[recipe.method].structured:
        _require_run(network, have(state.probe))
    blocks = [BlockSummary.of(fitted, plan.types) for fitted in state.blocks]
    tokens = have(state.statistics).tokens
    summary = summarize(source.name, recipe, plan, tracing, blocks, tokens, state.request.seconds)
    attach(network, configs, summary.as_dict())
    return replace(state, network=network, summary=summary)


def config_of_block(fitted: FittedBlock) -> BlockConfig:
    """Return the artefact's configuration of a block."""
    block, form, kept = fitted.block, fitted.fitted.form, fitted.planned.kept
    precision = form.precision if isinstance(form, QuantizedForm) else None
    members = list(zip(block.names, block.members, strict=True))
    if kept is None:
        return BlockConfig.of(block.kind, members, form.spec, block.tied, precision, block.inputs)
    left = [len(rows) for rows in split_rows(kept.rows, block.members)] if kept.rows is not None else block.members
    stacked = BlockConfig.of(block.kind, list(zip(block.names, left, strict=True)), form.spec, (), precision)
    return stacked.replacing(block.members, block.shape[1], kept.heads)


def _require_run(model: PreTrainedModel, batch: dict[str, Tensor]) -> None:
    """Check that the model runs after structured pruning.

    Raises:
        UnreachableError: the remaining layers do not fit each other.
    """
    try:
        with torch.no_grad():
            model(**batch)
    except (RuntimeError, ValueError, IndexError) as error:
        raise UnreachableError(
            f"structured: {type(model).__name__} cannot be run without some of its channels ({first_line(error)})"
        ) from error
