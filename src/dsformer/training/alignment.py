"""Row alignment: reorders a dense model's rows as those of its compressed copy are ordered.

Compression reorders grouped rows where their order costs nothing (a permutation symmetry). The order is not stored, so
it is found again by matching rows.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dsformer.calibration.symmetry import find_permutation_symmetries, permute_rows
from dsformer.calibration.trace import Block
from dsformer.format.row_spans import RowSpan
from dsformer.utils.matching import deferred_acceptance


def align_rows(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    blocks: Sequence[Block],
    compressed: Mapping[str, Float[Tensor, "_out _in"]],
    group: int,
) -> None:
    """Reorder the rows of a dense model in place as those of its compressed copy are ordered; outputs do not change.

    Args:
        model: the dense model.
        batch: run through the model to find out which rows may change places.
        blocks: the blocks of the dense model.
        compressed: by block name, the weight of the compressed copy.
        group: number of rows that share a support.
    """
    blocks_of = {block.name: block for block in blocks}
    for name, exchange in find_permutation_symmetries(model, batch, blocks, group).items():
        order = match_rows(blocks_of[name].weight(), compressed[name].cpu().float(), exchange.spans)
        permute_rows(blocks_of[name], blocks_of[exchange.reader], exchange, order)


def match_rows(
    rows: Float[Tensor, "out in"], others: Float[Tensor, "out in"], spans: Sequence[RowSpan]
) -> Int[Tensor, " out"]:
    """Find the permitted order of ``rows`` that brings them closest to ``others``: a stable matching in every span.

    Args:
        rows: to reorder.
        others: in the order wanted.
        spans: ranges of rows that may change places.

    Returns:
        For every place, the index of the row of ``rows`` that takes it.
    """
    order = torch.arange(len(rows))
    for span in spans:
        pairs = [(rows[start : start + span.size], others[start : start + span.size]) for start in span.starts]
        likeness = sum(-torch.cdist(other, own).square() for own, other in pairs)
        assert isinstance(likeness, Tensor)
        own = torch.from_numpy(deferred_acceptance(likeness.numpy(), 1))
        for start in span.starts:
            order[start : start + span.size] = start + own
    return order
