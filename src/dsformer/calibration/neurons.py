"""Which layers' outputs may be reordered for free, because the next layer's inputs can be reordered with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dsformer.calibration.blocks import Block, weight_of

# A reordered model must reproduce its output to this, relative to the largest value.
SAME = 1e-3
# How many blocks on the reader of a block's output is looked for.
REACH = 2


def interchangeable(model: nn.Module, batch: Mapping[str, Any], blocks: Sequence[Block]) -> dict[str, str]:
    """Blocks whose neurons can be reordered, with the block that reads them (FFN up- and down-projection).

    Found by trying: a random reordering of both must leave the model's output as it was. Only single layers are tried;
    of stacked ones (query, key and value) the reader takes one alone.
    """
    reference = _output(model, batch)
    scale = float(reference.abs().max())
    found: dict[str, str] = {}
    for i, block in enumerate(blocks):
        for reader in blocks[i + 1 : i + 1 + REACH]:
            if len(block.modules) > 1 or len(reader.modules) > 1 or reader.shape[1] != block.shape[0]:
                continue
            order = torch.randperm(block.shape[0], generator=torch.Generator().manual_seed(i))
            reorder(block, reader, order)
            same = float((_output(model, batch) - reference).abs().max()) < SAME * scale
            reorder(block, reader, torch.argsort(order))
            if same:
                found[block.name] = reader.name
                break
    return found


def reorder(block: Block, reader: Block, order: Int[Tensor, " neurons"]) -> None:
    """Put a block's neurons in a new order, in its rows and biases and in its reader's columns."""
    rows = weight_of(block.modules[0]).data
    rows.copy_(rows[order])
    for bias in block.biases:
        bias.data.copy_(bias.data[order])
    columns = weight_of(reader.modules[0]).data
    columns.copy_(columns[:, order])


def _output(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**batch)[0].float()
