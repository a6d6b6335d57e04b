"""OATS, low rank plus sparse (``W ~ U V + S``): all learned atoms are core atoms, and unit vectors are selected."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.linalg import decompose_symmetric
from dsformer.factorization.methods.base import Method
from dsformer.factorization.search import Budget, Fitted, most_nonzeros, rank_within
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.indices import select_codes
from dsformer.format.pattern import Pattern, largest
from dsformer.format.spec import FormSpec
from dsformer.utils.threads import raise_if_cancelled

# Fraction of the values that the low-rank term gets, and alternations between the two terms: the authors' choices.
RANK_SHARE, ALTERNATIONS = 0.25, 80


def spec_within(shape: tuple[int, int], budget: Budget) -> FormSpec | None:
    """Return the spec with the low-rank term's share of the bits; the others go to the sparse entries of every row."""
    rank = max(1, int(RANK_SHARE * rank_within(shape, budget)))
    empty = FormSpec("input", *shape, atoms=rank, core=rank, canonical=True)
    most = most_nonzeros(empty, budget)
    return replace(empty, nonzeros=most) if most else None


def fit(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Fit by OATS (arXiv 2409.13652): alternating thresholding, with columns scaled by the norm of their inputs.

    Arguments are as of ``Method.fit``.
    """
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    spec = spec_within(shape, budget)
    if spec is None:
        return None
    scale = weight.metric.gram.diagonal().sqrt()
    scaled = weight.matrix * scale
    sparse = torch.zeros_like(scaled)
    for _ in range(ALTERNATIONS):
        raise_if_cancelled()
        basis = _leading(scaled - sparse, spec.core)
        codes = (scaled - sparse) @ basis.T
        residual = scaled - codes @ basis
        mask = largest(residual.abs(), spec.nonzeros)
        sparse = residual * mask
    indices = select_codes(mask, spec)
    values = torch.cat([codes, (sparse / scale).gather(1, indices)], 1)
    form = Form(spec, (basis / scale).contiguous(), values, indices)
    return Fitted(form, weight.error(form))


def _leading(matrix: Float[Tensor, "out in"], rank: int) -> Float[Tensor, "rank in"]:
    """Return the leading right singular vectors, one a row, by the eigenvectors of the smaller Gram matrix."""
    if matrix.shape[0] >= matrix.shape[1]:
        return decompose_symmetric(matrix.T @ matrix)[1][:, -rank:].T
    left = decompose_symmetric(matrix @ matrix.T)[1][:, -rank:]
    return torch.nn.functional.normalize(left.T @ matrix, dim=1)


OATS = Method(fit, "low rank plus sparse by alternating thresholding (OATS, arXiv 2409.13652)", ("free",))
