"""Permutation symmetries: rows of a block that may change places if the next block's columns move with them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dsformer.calibration.trace import Block, weight_of
from dsformer.format.row_spans import RowSpan

# A reordered model must reproduce its output to this tolerance, relative to the largest absolute value.
SAME = 1e-3
# The reader of a block's output is looked for among this many blocks that follow.
REACH = 2


@dataclass(frozen=True)
class PermutationSymmetry:
    """How the rows of a block may change places.

    Attributes:
        spans: of all rows; those of a span may change places.
        reader: name of the block that reads rows of this one.
        start: first of the rows that it reads.
    """

    spans: tuple[RowSpan, ...]
    reader: str
    start: int = 0

    def random(self, seed: int) -> Int[Tensor, " rows"]:
        """Draw an order from all that are permitted."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.empty(sum(len(span.starts) * span.size for span in self.spans), dtype=torch.long)
        for span in self.spans:
            drawn = torch.randperm(span.size, generator=generator)
            for start in span.starts:
                order[start : start + span.size] = start + drawn
        return order

    def read(self, order: Int[Tensor, " rows"], width: int) -> Int[Tensor, " width"]:
        """Return the order of the reader's ``width`` inputs when the rows are in ``order``."""
        return order[self.start : self.start + width] - self.start


def find_permutation_symmetries(
    model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block], group: int = 1
) -> dict[str, PermutationSymmetry]:
    """Find the rows of blocks that can be reordered together with the columns of the block that reads them.

    These are neurons of a feed-forward layer, gated or not, and dimensions inside an attention head, with the same
    order in queries and keys. They are found by trying: a random reordering must not change the model's output (rotary
    positions do not permit it).

    Args:
        model: dense; unchanged afterwards.
        batch: to run.
        blocks: in the order in which the model runs them.
        group: only rows that can be divided into groups of this size are considered.

    Returns:
        The symmetries by block name.
    """
    with in_single_precision(model):
        return _interchangeable(model, batch, blocks, group)


def _interchangeable(
    model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block], group: int
) -> dict[str, PermutationSymmetry]:
    heads = count_heads(model, "num_attention_heads") or 0
    reference = run_model(model, batch)
    scale = float(reference.abs().max())

    def allowed(block: Block, reader: Block, exchange: PermutationSymmetry, seed: int) -> bool:
        order = exchange.random(seed)
        permute_rows(block, reader, exchange, order)
        same = float((run_model(model, batch) - reference).abs().max()) < SAME * scale
        permute_rows(block, reader, exchange, torch.argsort(order))
        return same

    found: dict[str, PermutationSymmetry] = {}
    for i, block in enumerate(blocks):
        if any(exchange.reader == block.name for exchange in found.values()):
            continue  # its columns are reordered, so its rows stay
        tried = (
            (reader, exchange)
            for reader in blocks[i + 1 : i + 1 + REACH]
            for exchange in _candidates(block, reader, heads)
            if not any(span.size % group for span in exchange.spans)
        )
        first = next((exchange for reader, exchange in tried if allowed(block, reader, exchange, i)), None)
        if first is not None:
            found[block.name] = first
    return found


def _candidates(block: Block, reader: Block, heads: int) -> Iterator[PermutationSymmetry]:
    """Yield the symmetries that the shapes allow."""
    rows, width = block.shape[0], reader.shape[1]
    if len(reader.modules) > 1 or any(member % width for member in block.members):
        return
    if rows <= 2 * width:
        yield PermutationSymmetry((RowSpan(tuple(range(0, rows, width)), width),), reader.name)
    elif rows == 3 * width and heads and width % heads == 0:
        inside = range(0, width, width // heads)
        for values in (2 * width, 0, width):  # in the order queries, keys, values; or another
            alike = [start for start in range(0, rows, width) if start != values]
            spans = [RowSpan(tuple(start + head for start in alike), width // heads) for head in inside]
            spans += [RowSpan((values + head,), width // heads) for head in inside]
            yield PermutationSymmetry(tuple(spans), reader.name, values)


def permute_rows(block: Block, reader: Block, exchange: PermutationSymmetry, order: Int[Tensor, " rows"]) -> None:
    """Reorder a block's rows (weights and biases) in place, and the columns of its reader with them.

    Args:
        block: whose rows are reordered.
        reader: the block that reads them.
        exchange: which of the rows it reads.
        order: for every place, the index of the row that takes it.
    """
    first = 0
    for module, rows in zip(block.modules, block.members, strict=True):
        own = order[first : first + rows] - first
        for tensor in (weight_of(module), getattr(module, "bias", None)):
            if tensor is not None:
                tensor.data.copy_(tensor.data[own])
        first += rows
    columns = weight_of(reader.modules[0]).data
    columns.copy_(columns[:, exchange.read(order, columns.shape[1])])


def count_heads(model: nn.Module, name: str) -> int | None:
    """Return a number of heads from the model's configuration; None: it has none, or layers have different numbers."""
    try:
        count = getattr(getattr(model, "config", None), name, None)
    except Exception:  # transformers 5 raises where layers have different numbers
        return None
    return count if isinstance(count, int) else None


@contextmanager
def in_single_precision(model: nn.Module) -> Iterator[None]:
    """Convert a model to float32 inside the context.

    In bfloat16 the same sum in another order differs by more than :data:`SAME`.
    """
    tensors = [*model.parameters(), *model.buffers()]
    # Wider types would lose precision.
    kept = [(one, one.dtype) for one in tensors if one.is_floating_point() and one.dtype.itemsize < 4]
    for tensor, _ in kept:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, dtype in kept:
            tensor.data = tensor.data.to(dtype)


def run_model(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Run a batch and return the model's first output as float32."""
    with torch.no_grad():
        return model(**batch)[0].float()
