"""Eigenvectors of symmetric matrices that may be close to singular."""

import torch
from jaxtyping import Float
from torch import Tensor


def eigen(matrix: Float[Tensor, "width width"]) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
    """Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix, in its own precision.

    LAPACK's single precision can fail to converge where many rows are zero, as those of atoms are that no code uses, or
    return no numbers where many eigenvalues are; then double precision is asked.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:
        values = matrix.new_full((), torch.nan)
    if not bool(values.isfinite().all()):
        values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)
