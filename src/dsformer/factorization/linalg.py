"""Linear algebra of the solvers: conjugate gradients for matrix unknowns, symmetric eigenproblems, low precision."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.utils.hardware import fast_bf16
from dsformer.utils.threads import raise_if_cancelled

# Curvature along a direction that is only rounding error, relative to the norms of the two factors of which it is the
# inner product. Nothing remains to be found along such a direction, and the length of a step would be arbitrary.
ROUNDING = 1e-7
# Damping of a system, relative to its mean diagonal: the first with which it can be factorized.
DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3)


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Float[Tensor, "*shape"],
    start: Float[Tensor, "*shape"],
    steps: int,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> Float[Tensor, "*shape"]:
    """Take up to ``steps`` preconditioned conjugate-gradient steps towards the solution of ``apply(x) = right``.

    Args:
        apply: a symmetric positive semi-definite linear map.
        right: the right-hand side, a matrix or a stack of them.
        start: the first iterate.
        steps: the largest number of steps; fewer are taken where no curvature remains.
        precondition: a linear map that approximates the inverse of ``apply``; by default the identity.

    Returns:
        The last iterate.
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


def factorize_damped(matrix: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
    """Compute the Cholesky factor of a positive semi-definite matrix with a little damping, which is added in place.

    Where rounding errors are larger, as with atoms that hardly any code uses, so is the damping.
    """
    mean = float(matrix.diagonal().mean())
    for damping in DAMPINGS:
        matrix.diagonal().add_(damping * mean + 1e-12)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not int(failed):
            return factor
    return torch.linalg.cholesky(matrix)


def decompose_symmetric(
    matrix: Float[Tensor, "width width"],
) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
    """Compute the eigenvalues (ascending) and eigenvectors (columns) of a symmetric matrix, in its own dtype.

    LAPACK's single precision can fail to converge where many rows are zero, such as the rows of atoms that no code
    uses. It can also return NaN where many eigenvalues are zero. In both cases double precision is used instead.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:
        values = matrix.new_full((), torch.nan)
    if not bool(values.isfinite().all()):
        values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)


def to_low_precision(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Cast a factor of an approximate product to the dtype that this processor multiplies fastest.

    That is bfloat16, which keeps 2 to 3 digits, where its products are fast. Elsewhere the matrix stays as it is.
    """
    return matrix.to(torch.bfloat16) if fast_bf16() else matrix
