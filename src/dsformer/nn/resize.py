"""Narrowing of linear layers for structured pruning, and widening back to full size.

The attention module around such a layer is notified with the new number of heads.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dsformer.format.channels import KeptChannels
from dsformer.format.schema import BlockConfig
from dsformer.nn.modules import replace_modules

Plain = nn.Linear | Conv1D
# Rows of a part of a layer: (before, after) pruning.
Part = tuple[int, int]

# Names under which attention modules of transformers keep the number of heads, and the width of all heads together.
# Most modules derive the number from the output of the projections. The others would reshape it wrongly.
_HEAD_SIZES = (
    "num_attention_heads",
    "num_heads",
    "n_heads",
    "num_key_value_heads",
    "all_head_size",
    "inner_dim",
    "embed_dim",
    "split_size",
    "dim",
)


def narrow_layer(
    layer: nn.Module, rows: Int[Tensor, " rows"] | None = None, columns: Int[Tensor, " columns"] | None = None
) -> Plain:
    """Return a plain layer with some of the rows and columns of another.

    Args:
        layer: ``nn.Linear`` or ``Conv1D``.
        rows: output features to keep; None: all.
        columns: input features to keep; None: all.
    """
    assert isinstance(layer, (nn.Linear, Conv1D))
    turned = isinstance(layer, Conv1D)
    weight = layer.weight.detach().T if turned else layer.weight.detach()
    weight = weight if rows is None else weight[rows]
    weight = weight if columns is None else weight[:, columns]
    bias = None if layer.bias is None else layer.bias.detach()
    return _plain(weight, bias if bias is None or rows is None else bias[rows], turned, layer.training)


def widen_layer(layer: Plain, parts: Sequence[Part], in_features: int) -> Plain:
    """Return a wider layer that computes the same: additional rows give 0 and additional columns are ignored.

    Args:
        layer: plain and narrow.
        parts: of its rows; each part is padded with zeros at its end.
        in_features: columns of the result.
    """
    turned = isinstance(layer, Conv1D)
    weight = layer.weight.detach().T if turned else layer.weight.detach()
    starts = [0, *accumulate(full for full, _ in parts)]
    rows = torch.cat([torch.arange(start, start + kept) for start, (_, kept) in zip(starts, parts, strict=False)])
    rows = rows.to(weight.device)
    wide = weight.new_zeros(starts[-1], in_features)
    wide[rows, : weight.shape[1]] = weight
    bias = None if layer.bias is None else layer.bias.detach()
    if bias is not None:
        bias = bias.new_zeros(starts[-1]).index_copy_(0, rows, bias)
    return _plain(wide, bias, turned, layer.training)


def match_row_parts(blocks: Sequence[BlockConfig]) -> dict[str, list[Part]]:
    """Return the parts of every layer that has fewer rows than the one it replaces.

    One layer may hold gate and up, or queries, keys and values, one after another; the same channels are removed from
    each. The number of parts follows from the layer that reads the channels: columns have been removed from it.
    """
    found: dict[str, list[Part]] = {}
    taken: set[int] = set()
    for i, writer in enumerate(blocks):
        whole = sum(writer.full_members), sum(member.out_features for member in writer.members)
        if whole[0] == whole[1]:
            continue
        readers = ((j, _shared(writer, whole, blocks[j])) for j in range(i + 1, len(blocks)) if j not in taken)
        reader, parts = next(((j, parts) for j, parts in readers if parts), (i, [whole]))
        taken.add(reader)
        for member, full in zip(writer.members, writer.full_members, strict=True):
            found[member.name] = _taken_from(parts, (full, member.out_features))
    return found


def _shared(writer: BlockConfig, whole: Part, reader: BlockConfig) -> list[Part]:
    """Return the parts of a block's rows if the reader reads them; empty: it does not."""
    width = (reader.full_inputs, reader.in_features)
    if width[0] == width[1] or len(reader.members) > 1:
        return []
    if writer.heads:
        rest = whole[0] - width[0], whole[1] - width[1]
        even = min(rest) > 0 and rest[0] % 2 == rest[1] % 2 == 0
        return [width, (rest[0] // 2, rest[1] // 2), (rest[0] // 2, rest[1] // 2)] if even else []
    times = whole[0] // width[0]
    return [width] * times if whole == (times * width[0], times * width[1]) else []


def _taken_from(parts: list[Part], whole: Part) -> list[Part]:
    """Remove the first parts that add up to a layer from the list, and return them; one part where none do."""
    for count in range(1, len(parts) + 1):
        if tuple(map(sum, zip(*parts[:count], strict=True))) == whole:
            own, parts[:] = parts[:count], parts[count:]
            return own
    return [whole]


def _plain(weight: Tensor, bias: Tensor | None, turned: bool, training: bool) -> Plain:
    rows, columns = weight.shape
    with torch.device("meta"):
        layer: Plain = Conv1D(rows, columns) if turned else nn.Linear(columns, rows, bias is not None)
    layer.weight = nn.Parameter((weight.T if turned else weight).contiguous().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer.train(training)


def set_head_counts(model: nn.Module, projection: str, before: int, after: int) -> None:
    """Scale the head counts of the attention module around a projection that has been narrowed or widened.

    Args:
        model: changed in place.
        projection: name of the projection.
        before: its output features until now.
        after: its output features from now on.
    """
    attention = model.get_submodule(projection.rpartition(".")[0])
    for name in _HEAD_SIZES:
        size = attention.__dict__.get(name)
        if isinstance(size, int) and size * after % before == 0:
            setattr(attention, name, size * after // before)


def narrow_layers(model: nn.Module, names: Sequence[str], kept: KeptChannels) -> dict[nn.Module, nn.Module]:
    """Replace plain layers that are stacked in one block by narrower ones.

    Args:
        model: changed in place.
        names: of the layers, in the order in which they are stacked.
        kept: the rows and columns of the stacked weight that remain.

    Returns:
        The new layers by those they replace.
    """
    layers = [model.get_submodule(name) for name in names]
    sizes = [_size(layer) for layer in layers]
    rows = [None] * len(layers) if kept.rows is None else split_rows(kept.rows, sizes)
    parts = zip(layers, rows, strict=True)
    new: dict[nn.Module, nn.Module] = {module: narrow_layer(module, own, kept.columns) for module, own in parts}
    replace_modules(model, new)
    if kept.heads and kept.rows is not None:
        set_head_counts(model, names[0], sum(sizes), len(kept.rows))
    return new


def split_rows(rows: Int[Tensor, " rows"], members: Sequence[int]) -> list[Int[Tensor, " own"]]:
    """Return the row indices of each stacked layer, relative to its first row."""
    starts = [sum(members[:i]) for i in range(len(members))]
    return [
        rows[(rows >= start) & (rows < start + count)] - start for start, count in zip(starts, members, strict=True)
    ]


def _size(layer: nn.Module) -> int:
    """Return the output features of a plain layer."""
    assert isinstance(layer, (nn.Linear, Conv1D))
    return layer.nf if isinstance(layer, Conv1D) else layer.out_features
