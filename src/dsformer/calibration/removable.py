"""Structured pruning: attention heads and feed-forward neurons that a model can run without, found by trying."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dsformer.calibration.symmetry import REACH, SAME, count_heads, in_single_precision, run_model
from dsformer.calibration.trace import Block, weight_of
from dsformer.format.channels import KeptChannels
from dsformer.models.empty_model import make_empty_copy
from dsformer.nn.modules import replace_modules
from dsformer.nn.resize import narrow_layers, set_head_counts


@dataclass(frozen=True)
class RemovableChannels:
    """Channels (heads or neurons): rows of one block and the columns of another that read them.

    Attributes:
        writer: name of the block whose rows they are.
        reader: name of the block whose columns they are.
        parts: the writer's rows by purpose (queries, keys, values; gate, up): first row, and rows a channel.
        count: number of channels.
        width: columns of a channel.
        heads: they are attention heads.
    """

    writer: str
    reader: str
    parts: tuple[tuple[int, int], ...]
    count: int
    width: int
    heads: bool

    def rows(self, kept: Int[Tensor, " kept"]) -> Int[Tensor, " rows"]:
        """Return the writer's rows that belong to the ``kept`` channels, ascending."""
        return torch.cat([start + _members(kept, size) for start, size in self.parts])

    def columns(self, kept: Int[Tensor, " kept"]) -> Int[Tensor, " columns"]:
        """Return the reader's columns that belong to the ``kept`` channels, ascending."""
        return _members(kept, self.width)

    @property
    def row_count(self) -> int:
        """Rows of the writer that a channel has."""
        return sum(size for _, size in self.parts)


def _members(kept: Tensor, size: int) -> Tensor:
    return (kept.sort().values[:, None] * size + torch.arange(size)).flatten()


def find_removable_channels(
    model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block]
) -> list[RemovableChannels]:
    """Find all channels that can be removed: neurons, gated or not, and heads, in groups that share keys and values.

    They are found by trying: the model without half of them must compute what it computes when the reader's columns are
    zero. Heads stay where attention changes its class as the model runs: a freshly loaded model, which has the other
    class, could not do without them.

    Args:
        model: dense; unchanged afterwards.
        batch: to run.
        blocks: in the order in which the model runs them.
    """
    with in_single_precision(model):
        found = _removable(model, batch, blocks)
    empty = make_empty_copy(model)
    return [one for one in found if not one.heads or empty is None or _attention_stays(model, empty, one)]


def _attention_stays(model: nn.Module, empty: nn.Module, channels: RemovableChannels) -> bool:
    """Return whether attention in an empty copy of the model is of the same class."""
    place = channels.writer.rpartition(".")[0]
    return type(empty.get_submodule(place)) is type(model.get_submodule(place))


def _removable(model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block]) -> list[RemovableChannels]:
    heads = count_heads(model, "num_attention_heads")
    shared = count_heads(model, "num_key_value_heads") or heads
    found: list[RemovableChannels] = []
    for i, writer in enumerate(blocks):
        candidates = (
            (reader, channels)
            for reader in blocks[i + 1 : i + 1 + REACH]
            for channels in _candidates(writer, reader, heads, shared)
        )
        read = {channels.reader for channels in found}
        tried = ((reader, one) for reader, one in candidates if reader.name not in read)
        first = next((one for reader, one in tried if _can_go(model, batch, writer, reader, one)), None)
        if first is not None:
            found.append(first)
    return found


def _candidates(writer: Block, reader: Block, heads: int | None, shared: int | None) -> Iterator[RemovableChannels]:
    """Yield the channels that the shapes allow."""
    rows, width = writer.shape[0], reader.shape[1]
    if len(reader.modules) > 1:
        return
    if rows in (width, 2 * width) and all(member % width == 0 for member in writer.members):
        parts = tuple((start, 1) for start in range(0, rows, width))
        yield RemovableChannels(writer.name, reader.name, parts, width, 1, False)
    if heads and shared and width % heads == 0 and heads % shared == 0:
        size = width // heads
        if rows == width + 2 * shared * size and shared > 1:
            queries = heads // shared * size
            parts = ((0, queries), (width, size), (width + shared * size, size))
            yield RemovableChannels(writer.name, reader.name, parts, shared, queries, True)


def _can_go(
    model: nn.Module, batch: Mapping[str, Any], writer: Block, reader: Block, channels: RemovableChannels
) -> bool:
    """Return whether the model without every second channel computes what it does when the reader ignores them."""
    kept = torch.arange(0, channels.count, 2)
    gone = channels.columns(torch.arange(1, channels.count, 2))
    weight = weight_of(reader.modules[0])
    columns = weight.data[:, gone].clone()
    weight.data[:, gone] = 0
    expected = run_model(model, batch)
    weight.data[:, gone] = columns
    try:
        with without_channels(model, writer, reader, channels, kept):
            output = run_model(model, batch)
    except Exception:  # whatever a model raises whose shapes do not fit any more
        return False
    return output.shape == expected.shape and bool((output - expected).abs().max() < SAME * expected.abs().max())


@contextmanager
def without_channels(
    model: nn.Module, writer: Block, reader: Block, channels: RemovableChannels, kept: Int[Tensor, " kept"]
) -> Iterator[None]:
    """Keep only some channels of one writer and reader inside the context.

    Args:
        model: dense; restored on leaving.
        writer: the block of the rows.
        reader: the block of the columns.
        channels: of these two blocks.
        kept: indices of the channels that stay.
    """
    rows = channels.rows(kept)
    new = narrow_layers(model, writer.names, KeptChannels(rows=rows, heads=channels.heads))
    try:
        new |= narrow_layers(model, reader.names, KeptChannels(columns=channels.columns(kept)))
        yield
    finally:
        replace_modules(model, {other: old for old, other in new.items()})
        if channels.heads:
            set_head_counts(model, writer.name, len(rows), writer.shape[0])
