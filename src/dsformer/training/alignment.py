"""The order of the rows of a compressed model, found again in the dense one.

Grouped rows that may change places for free were reordered when the model was compressed; the order is not stored.
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
    """Reorder a dense model in place, its outputs unchanged, as its compressed copy is ordered.

    Args:
        batch: to find out on which rows may change places.
        compressed: the weight of every block's copy.
        group: rows of a group.
    """
    blocks_of = {block.name: block for block in blocks}
    for name, exchange in find_permutation_symmetries(model, batch, blocks, group).items():
        order = match_rows(blocks_of[name].weight(), compressed[name].cpu().float(), exchange.spans)
        permute_rows(blocks_of[name], blocks_of[exchange.reader], exchange, order)


def match_rows(
    rows: Float[Tensor, "out in"], others: Float[Tensor, "out in"], spans: Sequence[RowSpan]
) -> Int[Tensor, " out"]:
    """The allowed order of ``rows`` in which they are most like ``others``, place by place (a stable matching)."""
    order = torch.arange(len(rows))
    for span in spans:
        pairs = [(rows[start : start + span.size], others[start : start + span.size]) for start in span.starts]
        likeness = sum(-torch.cdist(other, own).square() for own, other in pairs)
        assert isinstance(likeness, Tensor)
        own = torch.from_numpy(deferred_acceptance(likeness.numpy(), 1))
        for start in span.starts:
            order[start : start + span.size] = start + own
    return order
