"""SparseGPT (Frantar and Alistarh, arXiv 2301.00774): optimal brain surgeon, one column after another.

With ``U`` the upper Cholesky factor of the inverse Gram matrix, removing weight ``w_j`` of a row costs
``w_j² / U_jj²`` once the columns after it compensate for it by ``- w_j / U_jj * U_j,j:``. All rows share ``U``.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.format.pattern import largest
from dsformer.format.spec import FormSpec
from dsformer.utils.threads import raise_if_cancelled

# Columns whose entries are chosen at a time, and the fraction of the mean diagonal added to the Gram matrix: the
# authors' values.
BLOCK, DAMPING = 128, 0.01


def prune(
    matrix: Float[Tensor, "out in"], gram: Float[Tensor, "in in"], spec: FormSpec
) -> tuple[Float[Tensor, "out in"], Bool[Tensor, "out in"]]:
    """Prune a weight with compensation. Returns the new weight and the mask of the entries kept.

    Args:
        matrix: weight to prune.
        gram: second moment of the inputs.
        spec: says how many entries of a row are kept, or the n:m pattern (whose sets are strided).
    """
    order = _sets_together(spec)
    weight, upper = matrix[:, order].clone(), inverse_factor(gram[order][:, order])
    kept = torch.zeros_like(weight, dtype=torch.bool)
    # A set of an n:m pattern is a block of its own, as the authors have it: entries removed before it count.
    width, step = weight.shape[1], spec.pattern.m or BLOCK
    for start in range(0, width, step):
        raise_if_cancelled()
        end = min(start + step, width)
        scores = (weight[:, start:end] / upper.diagonal()[start:end]).abs()
        count = round(spec.nonzeros * end / width) - round(spec.nonzeros * start / width)
        kept[:, start:end] = largest(scores, count)
        for j in range(start, end):
            left_out = weight[:, j] * ~kept[:, j]
            weight[:, j:] -= (left_out / upper[j, j])[:, None] * upper[j, j:]
            weight[:, j] *= kept[:, j]
    back = order.argsort()
    return weight[:, back], kept[:, back]


def inverse_factor(gram: Float[Tensor, "in in"]) -> Float[Tensor, "in in"]:
    """Return the upper Cholesky factor of the inverse of a damped Gram matrix."""
    damped = gram.double() + DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()


def _sets_together(spec: FormSpec) -> Tensor:
    """Return the columns in an order that makes the members of an n:m set neighbours."""
    order = torch.arange(spec.width)
    return order.view(spec.pattern.m, -1).t().reshape(-1) if spec.pattern.m else order
