"""Blocks on their way: planned, with metric and budget, and fitted, with the form that approximates them."""

from dataclasses import dataclass, replace

import torch

from dsformer.calibration.symmetry import PermutationSymmetry
from dsformer.calibration.trace import Block
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget, Fitted
from dsformer.factorization.target import EmbeddingTarget, Target
from dsformer.format.accounting import ValueTypes
from dsformer.format.channels import KeptChannels
from dsformer.format.precision import SCALE_BITS, packed_bytes
from dsformer.nn.resize import split_rows


@dataclass(frozen=True)
class Allotment:
    """What allocation gives a block.

    Attributes:
        bits: bits that its form may take, without biases.
        importance: squared relative change of the model's output per squared relative error of the block.
        kept: with structured pruning, the channels that remain.
    """

    bits: int
    importance: float = 1.0
    kept: KeptChannels | None = None


@dataclass(frozen=True)
class PlannedBlock:
    """One block to factorize, with its metric and its budget.

    Attributes:
        block: its layers.
        metric: metric in which its error is measured.
        budget: bits that its form may take.
        exchange: how its rows may change places for free; None: the order of grouped rows is stored.
        row_weights: for an embedding table, weight of each row's squared error.
        kept: with structured pruning, the channels that remain; None: all rows and columns, factorized.
        importance: squared relative change of the model's output per squared relative error of the block.
    """

    block: Block
    metric: Metric
    budget: Budget
    exchange: PermutationSymmetry | None = None
    row_weights: torch.Tensor | None = None
    kept: KeptChannels | None = None
    importance: float = 1.0

    @property
    def name(self) -> str:
        """Name of the block: that of its first layer."""
        return self.block.name

    @property
    def allotment(self) -> Allotment:
        """What allocation gave the block."""
        return Allotment(self.budget.bits, self.importance, self.kept)

    @property
    def bias_count(self) -> int:
        """Number of biases of the rows that remain."""
        if self.kept is None or self.kept.rows is None:
            return self.block.bias_count
        parts = zip(self.block.modules, split_rows(self.kept.rows, self.block.members), strict=True)
        return sum(len(rows) for module, rows in parts if getattr(module, "bias", None) is not None)

    def target(self) -> Target:
        """Return the stacked weight and its metric as a factorization takes them."""
        target = target_of(self.block, self.metric, self.row_weights)
        return target if self.exchange is None else replace(target, free=self.exchange.spans)

    def reordered(self, order: torch.Tensor) -> "PlannedBlock":
        """Return the same block after a permutation of its inputs."""
        return replace(self, metric=self.metric.reordered(order))

    def budget_bytes(self, types: ValueTypes) -> int:
        """Return the bytes that the block may take, biases included."""
        return self.budget.bits // 8 + self.bias_count * types.rest // 8


@dataclass(frozen=True)
class FittedBlock:
    """A block with the form that approximates it."""

    planned: PlannedBlock
    fitted: Fitted

    @property
    def block(self) -> Block:
        """The layers of the block."""
        return self.planned.block


def target_of(block: Block, metric: Metric, row_weights: torch.Tensor | None) -> Target:
    """Return a block's stacked weight and its metric as the target of a factorization.

    Args:
        block: its layers.
        metric: metric of the error.
        row_weights: for an embedding table, weight of each row's squared error; None for linear layers.
    """
    if row_weights is not None:
        return EmbeddingTarget(block.weight(), metric, block.members, row_weights)
    return Target(block.weight(), metric, block.members)


def dense_bytes(block: Block, types: ValueTypes) -> int:
    """Count the bytes of a block before compression: weight (if quantized with a scale for every row) and biases."""
    (rows, columns), bits = block.shape, types.factors.least
    scales = SCALE_BITS // 8 * rows if types.factors.rounded else 0
    return rows * packed_bytes(columns, bits) + scales + block.bias_count * types.rest // 8
