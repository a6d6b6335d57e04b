"""Linear layers with fewer rows and columns, in attention that is told how many heads are left; and back."""

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Plain = nn.Linear | Conv1D

# What attention modules of transformers call how many heads they have, and how wide all of them are together. Most make
# as many heads as the projections give; the others would take the wrong shape.
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


def narrowed(
    layer: nn.Module, rows: Int[Tensor, " rows"] | None = None, columns: Int[Tensor, " columns"] | None = None
) -> Plain:
    """A plain layer with some of a plain one's output features (rows) and input features (columns); None: all."""
    assert isinstance(layer, (nn.Linear, Conv1D))
    turned = isinstance(layer, Conv1D)
    weight = layer.weight.detach().T if turned else layer.weight.detach()
    weight = weight if rows is None else weight[rows]
    weight = weight if columns is None else weight[:, columns]
    bias = None if layer.bias is None else layer.bias.detach()
    return _plain(weight, bias if bias is None or rows is None else bias[rows], turned, layer.training)


def widened(layer: Plain, out_features: int, in_features: int) -> Plain:
    """A layer that does the same among zeros: with rows that give 0 and columns that are not read."""
    turned = isinstance(layer, Conv1D)
    weight = layer.weight.detach().T if turned else layer.weight.detach()
    wide = weight.new_zeros(out_features, in_features)
    wide[: weight.shape[0], : weight.shape[1]] = weight
    bias = None if layer.bias is None else layer.bias.detach()
    if bias is not None:
        bias = torch.cat([bias, bias.new_zeros(out_features - len(bias))])
    return _plain(wide, bias, turned, layer.training)


def _plain(weight: Tensor, bias: Tensor | None, turned: bool, training: bool) -> Plain:
    rows, columns = weight.shape
    with torch.device("meta"):
        layer: Plain = Conv1D(rows, columns) if turned else nn.Linear(columns, rows, bias is not None)
    layer.weight = nn.Parameter((weight.T if turned else weight).contiguous().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer.train(training)


def tell_heads(model: nn.Module, projection: str, before: int, after: int) -> None:
    """Let attention know that a projection, given by name, has ``after`` output features instead of ``before``."""
    attention = model.get_submodule(projection.rpartition(".")[0])
    for name in _HEAD_SIZES:
        size = attention.__dict__.get(name)
        if isinstance(size, int) and size * after % before == 0:
            setattr(attention, name, size * after // before)
