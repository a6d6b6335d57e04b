"""From a traced model and a recipe to a budget for every block, and what the result will weigh."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from dsformer.allocation.budgets import Demand, balanced, uniform
from dsformer.allocation.structured_plan import keep_channels
from dsformer.calibration.left_dense import LeftDense, left_dense
from dsformer.calibration.second_moments import Statistics
from dsformer.calibration.sensitivity import sensitivities
from dsformer.calibration.symmetry import Exchange, interchangeable
from dsformer.calibration.trace import Block, Tracing
from dsformer.errors import UnreachableError
from dsformer.factorization.methods import METHODS
from dsformer.factorization.metric import Metric, linear_metric
from dsformer.factorization.search import Budget
from dsformer.factorization.target import Table, Weight
from dsformer.format.accounting import Types
from dsformer.format.channels import Kept
from dsformer.format.pattern import Pattern
from dsformer.format.precision import SCALE_BITS, Precision, packed_bytes
from dsformer.format.spec import dense_spec
from dsformer.nn.resize import split_rows
from dsformer.recipe import Recipe
from dsformer.utils.progress import Progress, silent
from dsformer.vocabulary.rows import pruned_values

# Weight of a token that calibration never saw, relative to the rarest it saw: unseen tokens will come.
UNSEEN = 0.5


@dataclass(frozen=True)
class Job:
    """One block to factorize, with its metric and its budget.

    Attributes:
        row_weights: for a table, how much each row's error counts.
        exchange: how its rows may change places for free; None: the order of grouped rows is stored.
        kept: what stays of it, with structured pruning; None: all rows and columns, factorized.
        importance: what a unit of its squared relative error costs.
    """

    block: Block
    metric: Metric
    budget: Budget
    exchange: Exchange | None = None
    row_weights: torch.Tensor | None = None
    kept: Kept | None = None
    importance: float = 1.0

    @property
    def bias_count(self) -> int:
        """Biases of the rows that stay."""
        if self.kept is None or self.kept.rows is None:
            return self.block.bias_count
        parts = zip(self.block.modules, split_rows(self.kept.rows, self.block.members), strict=True)
        return sum(len(rows) for module, rows in parts if getattr(module, "bias", None) is not None)

    def weight(self) -> Weight:
        """The stacked weight in its metric."""
        weight = whitened(self.block, self.metric, self.row_weights)
        return weight if self.exchange is None else replace(weight, free=self.exchange.spans)

    def reordered(self, order: torch.Tensor) -> "Job":
        """The same job after its inputs changed places."""
        return replace(self, metric=self.metric.reordered(order))


@dataclass(frozen=True)
class Plan:
    """Every job, and the bytes of the model before, all at the stored value type.

    Attributes:
        types: sizes of stored values.
        rest_bytes: parameters and buffers that stay as they are.
        type_factor: size of a weight's values before / stored.
        dropped_bytes: of whole layers that are gone, norms included.
        vocabulary_bytes: of rows of tokens that are gone.
        left: what the ``rest_bytes`` are.
    """

    jobs: list[Job]
    types: Types
    rest_bytes: int
    type_factor: float
    dropped_bytes: int = 0
    vocabulary_bytes: int = 0
    left: tuple[LeftDense, ...] = ()

    def dense_bytes(self, jobs: Sequence[Job] | None = None) -> int:
        """Weights and biases of the blocks before compression."""
        return sum(dense_bytes(job.block, self.types) for job in (self.jobs if jobs is None else jobs))

    def linear_jobs(self) -> list[Job]:
        return [job for job in self.jobs if job.block.kind != "embedding"]


def whitened(block: Block, metric: Metric, row_weights: torch.Tensor | None) -> Weight:
    """A block's weight in its metric."""
    if row_weights is not None:
        return Table(block.weight(), metric, block.members, row_weights)
    return Weight(block.weight(), metric, block.members)


def dense_bytes(block: Block, types: Types) -> int:
    """Weight (if rounded with a scale for every row) and biases."""
    (rows, columns), bits = block.shape, types.factors.least
    scales = SCALE_BITS // 8 * rows if types.factors.rounded else 0
    return rows * packed_bytes(columns, bits) + scales + block.bias_count * types.rest // 8


def make_plan(
    model: nn.Module,
    tracing: Tracing,
    statistics: Statistics,
    recipe: Recipe,
    probes: Sequence[Mapping[str, Any]],
    progress: Progress = silent,
    dropped: Sequence[nn.Module] = (),
) -> Plan:
    """Budgets for the blocks of a calibrated model.

    Args:
        probes: batches on which balanced allocation measures how sensitive the output is to each block.
        dropped: layers the model had before.

    Raises:
        UnreachableError: the ratio cannot be reached; says which can.
    """
    method, pattern = METHODS[recipe.method], Pattern.parse(recipe.pattern)
    blocks = tracing.blocks + (tracing.tables if recipe.with_embeddings else [])
    types = Types.of(next(model.parameters()).dtype, recipe.dtype, recipe.factors)
    rest = stored_bytes(model, types.rest) - sum(
        dense_bytes(block, Types(Precision.of(types.rest), types.rest)) for block in blocks
    )
    gone = sum(_layer_bytes(layer, types) for layer in dropped)
    # Rows that are gone would have been stored as those of the tables are.
    words = pruned_values(model) * (types.factors.least if recipe.with_embeddings else types.rest) // 8
    bits = _bits_for_values(blocks, recipe, types, rest, gone + (words if recipe.scope == "all" else 0))
    left = left_dense(model, tracing, blocks, types.rest)
    metrics = {block.name: _metric(block, statistics, recipe) for block in blocks}
    type_factor = next(model.parameters()).dtype.itemsize * 8 / types.factors.least
    if method.structured:
        own = {name: metric for name, (metric, _) in metrics.items()}
        # Attention can only be followed by as many heads.
        all_heads = recipe.training.train != "none" and "attention" in recipe.training.terms
        jobs = _structured(model, blocks, own, probes, bits, types, progress, all_heads)
        return Plan(jobs, types, rest, type_factor, gone, words, left)
    # A pruned weight has one form of an n:m pattern: it can take neither more bits nor fewer.
    if recipe.allocation == "uniform" or method.rounds or (method.prunes and pattern.m):
        demands = [Demand(block.shape, torch.ones(1)) for block in blocks]
        shares = uniform(demands, bits)
    else:
        mean_bits = (types.factors.codes + types.factors.dictionary) / 2
        demands = _demands(model, blocks, metrics, probes, recipe, progress)
        shares = balanced(demands, bits, mean_bits)
    exchanges = interchangeable(model, probes[0], tracing.blocks, pattern.group) if pattern.group > 1 else {}
    jobs = [
        Job(
            block,
            metrics[block.name][0],
            Budget(share, types.factors, block.name in exchanges),
            exchanges.get(block.name),
            metrics[block.name][1],
            importance=demand.importance,
        )
        for block, share, demand in zip(blocks, shares, demands, strict=True)
    ]
    return Plan(jobs, types, rest, type_factor, vocabulary_bytes=words, left=left)


def _structured(
    model: nn.Module,
    blocks: Sequence[Block],
    metrics: Mapping[str, Metric],
    probes: Sequence[Mapping[str, Any]],
    bits: int,
    types: Types,
    progress: Progress,
    all_heads: bool,
) -> list[Job]:
    """Jobs that keep some heads and neurons, and the other blocks as they are."""
    kept = keep_channels(model, blocks, metrics, probes, bits, types.factors, progress, all_heads)
    jobs = []
    for block in blocks:
        own = kept[block.name]
        budget = Budget(dense_spec(*own.shape(block.shape)).stored_bits(types.factors), types.factors)
        jobs.append(Job(block, metrics[block.name], budget, kept=own))
    return jobs


def stored_bytes(model: nn.Module, value_bits: int) -> int:
    """What the dense model takes on disk: every tensor once (tied ones too), floating ones at a value type."""
    seen: dict[int, int] = {}
    for tensor in model.state_dict(keep_vars=True).values():
        size = value_bits // 8 if tensor.is_floating_point() else tensor.element_size()
        seen[tensor.data_ptr() or id(tensor)] = tensor.numel() * size
    return sum(seen.values())


def _layer_bytes(layer: nn.Module, types: Types) -> int:
    """A dense layer of a model: its linear layers as :func:`dense_bytes` has them, and all else."""
    linear = [module for module in layer.modules() if isinstance(module, (nn.Linear, Conv1D))]
    own = [Block("linear", ("",), (module,)) for module in linear]
    seen = {id(parameter) for module in linear for parameter in module.parameters()}
    others = sum(one.numel() for one in layer.parameters() if id(one) not in seen)
    return sum(dense_bytes(block, types) for block in own) + others * types.rest // 8


def _bits_for_values(blocks: Sequence[Block], recipe: Recipe, types: Types, rest: int, gone: int) -> int:
    """Bits left for weights once biases, and with scope all the rest of the file, are paid.

    Args:
        gone: bytes of layers and rows the model does not have any more.
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
    """Error curves of the blocks, weighted by what their errors, probed with low rank, do to the model's output."""
    spectra: list[torch.Tensor] = []
    gain = METHODS[recipe.method].gain

    def approximate(block: Block) -> tuple[torch.Tensor, float]:
        weight = whitened(block, *metrics[block.name])
        spectra.append(weight.spectrum)
        rank = int(gain * block.shape[0] * block.shape[1] / recipe.ratio / sum(block.shape))
        form, error = weight.low_rank(min(max(1, rank), *block.shape))
        return form.dense(), error

    def tick(done: int) -> None:
        progress("sensitivity", done, len(blocks))

    importance = sensitivities(model, probes, blocks, approximate, tick)
    return [
        Demand(block.shape, spectrum, weight, gain)
        for block, spectrum, weight in zip(blocks, spectra, importance, strict=True)
    ]
