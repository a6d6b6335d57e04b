"""Allocation plan: from a traced model and a recipe to the budget of every block and the bytes of the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from dsformer.allocation.budgets import Demand, allocate_balanced, allocate_uniform
from dsformer.allocation.planned_block import Allotment, PlannedBlock, dense_bytes, target_of
from dsformer.allocation.structured_plan import choose_channels
from dsformer.calibration.left_dense import LeftDense, list_left_dense
from dsformer.calibration.second_moments import Statistics
from dsformer.calibration.sensitivity import measure_sensitivities
from dsformer.calibration.symmetry import PermutationSymmetry, find_permutation_symmetries
from dsformer.calibration.trace import Block, Tracing
from dsformer.errors import UnreachableError
from dsformer.factorization.methods import METHODS
from dsformer.factorization.metric import Metric, linear_metric
from dsformer.factorization.search import Budget
from dsformer.format.accounting import ValueTypes
from dsformer.format.channels import KeptChannels
from dsformer.format.pattern import Pattern
from dsformer.format.precision import Precision
from dsformer.format.spec import dense_spec
from dsformer.recipe import Recipe
from dsformer.utils.progress import Progress, silent
from dsformer.vocabulary.rows import pruned_values

# Weight of a token that calibration never saw, relative to the rarest it saw: other texts will have such tokens.
UNSEEN = 0.5


@dataclass(frozen=True)
class Plan:
    """Every block with its budget, and the bytes of the model before, all at the stored value type.

    Attributes:
        blocks: the blocks to compress.
        types: bits of stored values.
        rest_bytes: bytes of parameters and buffers that stay as they are.
        type_factor: size of a weight's value before, relative to the stored one.
        dropped_bytes: bytes of whole layers that were removed, norms included.
        vocabulary_bytes: bytes of the rows of tokens that were removed.
        left: what the ``rest_bytes`` are, and why.
    """

    blocks: list[PlannedBlock]
    types: ValueTypes
    rest_bytes: int
    type_factor: float
    dropped_bytes: int = 0
    vocabulary_bytes: int = 0
    left: tuple[LeftDense, ...] = ()

    def dense_bytes(self) -> int:
        """Count the bytes of the blocks' weights and biases before compression."""
        return sum(dense_bytes(planned.block, self.types) for planned in self.blocks)

    def linear_blocks(self) -> list[PlannedBlock]:
        """Return the blocks of linear layers, without embedding tables."""
        return [planned for planned in self.blocks if planned.block.kind != "embedding"]


def plan_blocks(
    model: nn.Module,
    tracing: Tracing,
    statistics: Statistics,
    recipe: Recipe,
    probes: Sequence[Mapping[str, Any]],
    progress: Progress = silent,
    dropped: Sequence[nn.Module] = (),
    allotments: Mapping[str, Allotment] | None = None,
) -> Plan:
    """Give the blocks of a calibrated model their budgets.

    Args:
        model: the dense model.
        tracing: its blocks.
        statistics: second moments and token counts of the calibration text.
        recipe: says the ratio, its scope, the method and the allocation.
        probes: batches on which balanced allocation measures how sensitive the output is to each block.
        progress: notified with the number of sensitivities that are measured.
        dropped: layers that were removed from the model before, which count for the ratio.
        allotments: allotments by block name, where they are known already; None: computed here.

    Raises:
        UnreachableError: the ratio cannot be reached; says which can.
    """
    blocks = tracing.blocks + (tracing.tables if recipe.with_embeddings else [])
    types = ValueTypes.of(next(model.parameters()).dtype, recipe.dtype, recipe.factors)
    rest = count_stored_bytes(model, types.rest) - sum(
        dense_bytes(block, ValueTypes(Precision.of(types.rest), types.rest)) for block in blocks
    )
    removed = sum(_layer_bytes(layer, types) for layer in dropped)
    # Removed rows would have been stored like the rows of the embedding tables.
    words = pruned_values(model) * (types.factors.least if recipe.with_embeddings else types.rest) // 8
    bits = _bits_for_values(blocks, recipe, types, rest, removed + (words if recipe.scope == "all" else 0))
    metrics = {block.name: _metric(block, statistics, recipe) for block in blocks}
    if allotments is None or allotments.keys() != metrics.keys():
        allotments = _allot(model, blocks, metrics, bits, types, recipe, probes, progress)
    pattern, exchanges = Pattern.parse(recipe.pattern), dict[str, PermutationSymmetry]()
    if pattern.group > 1 or pattern.bank:
        exchanges = find_permutation_symmetries(model, probes[0], tracing.blocks, pattern.group)
    planned = []
    for block in blocks:
        metric, row_weights = metrics[block.name]
        given, exchange = allotments[block.name], exchanges.get(block.name)
        budget = Budget(given.bits, types.factors, exchange is not None)
        planned.append(PlannedBlock(block, metric, budget, exchange, row_weights, given.kept, given.importance))
    return Plan(
        planned,
        types,
        rest,
        type_factor=next(model.parameters()).dtype.itemsize * 8 / types.factors.least,
        dropped_bytes=removed,
        vocabulary_bytes=words,
        left=list_left_dense(model, tracing, blocks, types.rest),
    )


def _allot(
    model: nn.Module,
    blocks: Sequence[Block],
    metrics: Mapping[str, tuple[Metric, torch.Tensor | None]],
    bits: int,
    types: ValueTypes,
    recipe: Recipe,
    probes: Sequence[Mapping[str, Any]],
    progress: Progress,
) -> dict[str, Allotment]:
    """Divide the bits among the blocks."""
    method, pattern = METHODS[recipe.method], Pattern.parse(recipe.pattern)
    if method.structured:
        own = {name: metric for name, (metric, _) in metrics.items()}
        # A student's attention can be distilled only with as many heads as the teacher has.
        all_heads = recipe.training.train != "none" and "attention" in recipe.training.terms
        kept = choose_channels(model, blocks, own, probes, bits, types.factors, progress, all_heads)
        return {block.name: _of_channels(block, kept[block.name], types) for block in blocks}
    # A pruned weight has one form of an n:m pattern: it can take neither more bits nor fewer.
    if recipe.allocation == "uniform" or method.quantizes or (method.prunes and pattern.m):
        demands = [Demand(block.shape, torch.ones(1)) for block in blocks]
        shares = allocate_uniform(demands, bits)
    else:
        demands = _demands(model, blocks, metrics, probes, recipe, progress)
        shares = allocate_balanced(demands, bits, (types.factors.codes + types.factors.dictionary) / 2)
    return {
        block.name: Allotment(share, demand.importance)
        for block, share, demand in zip(blocks, shares, demands, strict=True)
    }


def _of_channels(block: Block, kept: KeptChannels, types: ValueTypes) -> Allotment:
    """Return the allotment of a block after structured pruning: the bits of the remaining dense weight."""
    return Allotment(dense_spec(*kept.shape(block.shape)).stored_bits(types.factors), kept=kept)


def count_stored_bytes(model: nn.Module, value_bits: int) -> int:
    """Count the bytes of the dense model on disk.

    Every tensor counts once, also if tied. Floating-point ones count at ``value_bits``, others at their own type.
    """
    seen: dict[int, int] = {}
    for tensor in model.state_dict(keep_vars=True).values():
        size = value_bits // 8 if tensor.is_floating_point() else tensor.element_size()
        seen[tensor.data_ptr() or id(tensor)] = tensor.numel() * size
    return sum(seen.values())


def _layer_bytes(layer: nn.Module, types: ValueTypes) -> int:
    """Count the bytes of a dense layer of a model: linear layers as :func:`dense_bytes` counts them, and all else."""
    linear = [module for module in layer.modules() if isinstance(module, (nn.Linear, Conv1D))]
    own = [Block("linear", ("",), (module,)) for module in linear]
    seen = {id(parameter) for module in linear for parameter in module.parameters()}
    others = sum(one.numel() for one in layer.parameters() if id(one) not in seen)
    return sum(dense_bytes(block, types) for block in own) + others * types.rest // 8


def _bits_for_values(blocks: Sequence[Block], recipe: Recipe, types: ValueTypes, rest: int, gone: int) -> int:
    """Return the bits that remain for weights after biases, and with scope all after all other tensors of the file.

    Args:
        blocks: blocks to compress.
        recipe: says ratio and scope.
        types: bits of stored values.
        rest: bytes of tensors that stay as they are.
        gone: bytes of layers and rows that were removed from the model.

    Raises:
        UnreachableError: the ratio cannot be reached; says which can.
    """
    biases = sum(block.bias_count for block in blocks) * types.rest // 8
    before = gone + sum(dense_bytes(block, types) for block in blocks)
    fixed = biases + (rest if recipe.scope == "all" else 0)
    whole = before + (rest if recipe.scope == "all" else 0)
    least = sum(sum(block.shape) for block in blocks) * types.factors.least // 8
    reachable = whole / (fixed + least)
    if recipe.ratio > reachable:
        hint = "" if recipe.with_embeddings else "; --embeddings compresses the embedding tables too"
        where = "of the whole file" if recipe.scope == "all" else "over the compressed layers"
        raise UnreachableError(f"ratio {recipe.ratio:g} {where} cannot be reached, at most {reachable:.2f}{hint}")
    return int((whole / recipe.ratio - fixed) * 8)


def _metric(block: Block, statistics: Statistics, recipe: Recipe) -> tuple[Metric, torch.Tensor | None]:
    """Return the metric of a block and, for an embedding table, the weights of its rows by token counts."""
    if block.kind != "embedding":
        name = block.name
        return linear_metric(statistics.grams[name], statistics.output_grams.get(name), recipe.ridge), None
    counts = statistics.counts[block.name].float()
    floor = UNSEEN * float(counts[counts > 0].min()) if bool((counts > 0).any()) else 1.0
    weights = counts.clamp_min(floor)
    return Metric.identity(block.shape[1]), weights / weights.mean()


def _demands(
    model: nn.Module,
    blocks: Sequence[Block],
    metrics: Mapping[str, tuple[Metric, torch.Tensor | None]],
    probes: Sequence[Mapping[str, Any]],
    recipe: Recipe,
    progress: Progress,
) -> list[Demand]:
    """Measure the error curve of every block, and how much its errors (of low rank) change the model's output."""
    spectra: list[torch.Tensor] = []
    gain = METHODS[recipe.method].rank_gain

    def approximate(block: Block) -> tuple[torch.Tensor, float]:
        target = target_of(block, *metrics[block.name])
        spectra.append(target.spectrum)
        rank = int(gain * block.shape[0] * block.shape[1] / recipe.ratio / sum(block.shape))
        form, error = target.low_rank(min(max(1, rank), *block.shape))
        return form.dense(), error

    def tick(done: int) -> None:
        progress("sensitivity", done, len(blocks))

    importance = measure_sensitivities(model, probes, blocks, approximate, tick)
    return [
        Demand(block.shape, spectrum, weight, gain)
        for block, spectrum, weight in zip(blocks, spectra, importance, strict=True)
    ]
