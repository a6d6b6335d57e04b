"""Conjugate gradients for unknowns that are matrices, or stacks of them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.utils.hardware import fast_bf16
from dsformer.utils.threads import raise_if_cancelled

# Curvature along a direction that is no more than rounding, relative to what it is a product of: nothing is left to
# find, and a step would be as long as chance has it.
ROUNDING = 1e-7


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Float[Tensor, "*shape"],
    start: Float[Tensor, "*shape"],
    steps: int,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> Float[Tensor, "*shape"]:
    """So many steps from ``start`` towards the solution of ``apply(x) = right``.

    Args:
        apply: a symmetric positive semi-definite map.
        precondition: one that is nearly its inverse.
    """
    found, residual = start, right - apply(start)
    direction = step = precondition(residual)
    energy = (residual * step).sum()
    for _ in range(steps):
        raise_if_cancelled()
        image = apply(direction)
        curvature = (direction * image).sum()
        if float(curvature) <= ROUNDING * float(direction.norm() * image.norm()):
            break
        length = energy / curvature
        found, residual = found + length * direction, residual - length * image
        step, before = precondition(residual), energy
        energy = (residual * step).sum()
        direction = step + energy / before.clamp_min(1e-30) * direction
    return found


def decompose_symmetric(
    matrix: Float[Tensor, "width width"],
) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
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


def to_low_precision(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """A factor of such products, in the type that is multiplied fastest here: bfloat16 keeps 2 to 3 digits."""
    return matrix.to(torch.bfloat16) if fast_bf16() else matrix
