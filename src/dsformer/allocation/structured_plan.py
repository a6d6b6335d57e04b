"""Structured pruning of a calibrated model: which heads and neurons remain within a budget of bits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.allocation.structured_budget import ChannelValue, allocate_channels
from dsformer.calibration.removable import RemovableChannels, find_removable_channels
from dsformer.calibration.sensitivity import measure_sensitivities
from dsformer.calibration.trace import Block
from dsformer.errors import UnreachableError
from dsformer.factorization.channel_removal import ChannelOrder, order_channels, remove_channels
from dsformer.factorization.metric import Metric
from dsformer.factorization.target import Target
from dsformer.format.channels import KeptChannels
from dsformer.format.precision import Precision
from dsformer.format.spec import dense_spec
from dsformer.utils.progress import Progress, silent
from dsformer.utils.threads import single_threaded_pool

# Squared relative error below which its effect on the model's output is lost in rounding errors.
MEASURABLE = 1e-3


def choose_channels(
    model: nn.Module,
    blocks: Sequence[Block],
    metrics: Mapping[str, Metric],
    probes: Sequence[Mapping[str, Any]],
    bits: int,
    precision: Precision,
    progress: Progress = silent,
    all_heads: bool = False,
) -> dict[str, KeptChannels]:
    """Choose the rows and columns that remain of every block.

    Args:
        model: the dense model.
        blocks: its linear blocks.
        metrics: metric of each block by name.
        probes: batches on which channels are found, and on which the output's sensitivity to them is measured.
        bits: for the weights of all blocks.
        precision: precision of stored values.
        progress: notified with the channels ordered, and with the sensitivities measured.
        all_heads: keep all heads, remove neurons only.

    Returns:
        The remaining channels of every block, by name.

    Raises:
        UnreachableError: no channels can be removed, or not enough of them.
    """
    by_name = {block.name: block for block in blocks}
    what = "neurons" if all_heads else "heads and neurons"
    channels = [one for one in find_removable_channels(model, probes[0], blocks) if not (all_heads and one.heads)]
    if not channels:
        raise UnreachableError(f"no {what} of this model can be taken out")
    removals = _removals(by_name, metrics, channels, progress)
    worths = _worths(model, by_name, metrics, probes, bits, precision, channels, removals, progress)
    fixed = sum(_stored(block.shape, precision) for block in blocks)
    fixed -= sum(worth.bits * worth.count for worth in worths)
    counts = allocate_channels(worths, bits - fixed) if bits > fixed else None
    if counts is None:
        whole = sum(_stored(block.shape, precision) for block in blocks)
        least = fixed + sum(worth.bits for worth in worths)
        raise UnreachableError(
            f"the ratio cannot be reached: {what} are {1 - fixed / whole:.0%} of the "
            f"weights and one of each layer stays (at most {whole / least:.1f})"
        )
    kept = dict.fromkeys(by_name, KeptChannels())
    for one, gone, count in zip(channels, removals, counts, strict=True):
        left = gone.kept(count)
        # A block in the middle of a chain is the reader of one pair and the writer of the next.
        kept[one.writer] = replace(kept[one.writer], rows=one.rows(left), heads=one.heads)
        kept[one.reader] = replace(kept[one.reader], columns=one.columns(left))
    return kept


def _removals(
    blocks: Mapping[str, Block],
    metrics: Mapping[str, Metric],
    channels: Sequence[RemovableChannels],
    progress: Progress,
) -> list[ChannelOrder]:
    """Order the channels of every writer and reader by their removal, in parallel."""

    def work(one: RemovableChannels) -> ChannelOrder:
        with torch.no_grad():
            return order_channels(_weight(blocks[one.reader], metrics), one.width)

    found = []
    progress("channels", 0, len(channels))
    with single_threaded_pool() as pool:
        for gone in pool.map(work, channels):
            found.append(gone)
            progress("channels", len(found), len(channels))
    return found


def _weight(block: Block, metrics: Mapping[str, Metric]) -> Target:
    """Return a block's stacked weight and its metric."""
    return Target(block.weight(), metrics[block.name], block.members)


def _worths(
    model: nn.Module,
    blocks: Mapping[str, Block],
    metrics: Mapping[str, Metric],
    probes: Sequence[Mapping[str, Any]],
    bits: int,
    precision: Precision,
    channels: Sequence[RemovableChannels],
    removals: Sequence[ChannelOrder],
    progress: Progress,
) -> list[ChannelValue]:
    """Weight error curves by the effect of the readers' errors on the model's output, at about the wanted ratio."""
    share = bits / sum(_stored(block.shape, precision) for block in blocks.values())
    by_reader = {one.reader: (one, gone) for one, gone in zip(channels, removals, strict=True)}

    def approximate(block: Block) -> tuple[Tensor, float]:
        one, gone = by_reader[block.name]
        weight, fewer = _weight(block, metrics), one.count - min(max(1, round(share * one.count)), one.count)
        while True:
            columns = one.columns(gone.kept(one.count - fewer))
            left = remove_channels(weight, KeptChannels(columns=columns))
            if left.error**2 >= MEASURABLE or fewer == one.count - 1:
                return torch.zeros_like(weight.matrix).index_copy_(1, columns, left.form.dense()), left.error
            fewer = min(max(1, 2 * fewer), one.count - 1)

    readers = [blocks[one.reader] for one in channels]
    importance = measure_sensitivities(
        model, probes, readers, approximate, lambda done: progress("sensitivity", done, len(readers))
    )
    return [
        ChannelValue(gone.errors, _channel_bits(one, blocks, precision), weight)
        for one, gone, weight in zip(channels, removals, importance, strict=True)
    ]


def _channel_bits(one: RemovableChannels, blocks: Mapping[str, Block], precision: Precision) -> int:
    """Return the bits of one channel, averaged over half of them, because rows of packed numbers end at whole bytes."""
    writer, reader = blocks[one.writer].shape, blocks[one.reader].shape
    gone = one.count // 2
    rest = _stored((writer[0] - gone * one.row_count, writer[1]), precision)
    rest += _stored((reader[0], reader[1] - gone * one.width), precision)
    return -(-(_stored(writer, precision) + _stored(reader, precision) - rest) // gone)


def _stored(shape: tuple[int, int], precision: Precision) -> int:
    """Return the bits of a dense weight of this shape."""
    return dense_spec(*shape).stored_bits(precision)
