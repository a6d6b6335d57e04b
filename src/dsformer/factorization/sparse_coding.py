"""Codes for a fixed dictionary: one ADMM step under a support constraint, and exact least squares on a support.

The pursuit is ADMM on ``min f(C) + [C has an allowed support]`` (Boyd et al. 2011, section 9.1; for pruning: Boža,
arXiv 2401.02938, ALPS, arXiv 2406.07831): the quadratic is solved exactly, so correlated and overcomplete atoms, and
units coupled by the metric, are no obstacle to it as they are to gradient steps.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.linalg import conjugate_gradients, decompose_symmetric, to_low_precision
from dsformer.format.indices import fill_support

# Rows of a batch of small systems solved at once, to bound memory.
SYSTEM_ENTRIES = 2**23
# Rows of different numbers of codes solved at once: those of neighbours, sorted, are alike.
UNEVEN_ROWS = 64
# Added to their diagonals of 1: a unit may have nearly all atoms, of which some say the same as others.
UNEVEN_DAMPING = 1e-4
# Conjugate-gradient steps on a support when units are coupled.
CONJUGATE_STEPS = 5


class Atoms:
    """The atoms of one iterate: learned ones (norm 1), then the canonical ones if allowed."""

    def __init__(self, problem: LeastSquares, dictionary: Float[Tensor, "atoms width"], canonical: bool):
        self.problem, self.dictionary, self.canonical = problem, dictionary, canonical

    def combine(self, codes: Float[Tensor, "units positions"]) -> Float[Tensor, "units width"]:
        """C A."""
        count = len(self.dictionary)
        learned = codes[:, :count] @ self.dictionary
        return learned + self.problem.mix_canonical(codes[:, count:]) if self.canonical else learned

    def transposed(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units positions"]:
        """Rows times Aᵀ."""
        learned = rows @ self.dictionary.T
        return torch.cat([learned, self.problem.along_canonical(rows)], 1) if self.canonical else learned

    def roughly_transposed(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units positions"]:
        """The same, not exactly."""
        rows, canonical = to_low_precision(rows), self.problem.rough_canonical
        learned = (rows @ to_low_precision(self.dictionary).T).float()
        if not self.canonical:
            return learned
        return torch.cat([learned, (rows if canonical is None else rows @ canonical.T).float()], 1)

    def gram(self) -> Float[Tensor, "positions positions"]:
        learned = self.dictionary @ self.dictionary.T
        if not self.canonical:
            return learned
        cross = self.problem.along_canonical(self.dictionary)
        return torch.cat([torch.cat([learned, cross], 1), torch.cat([cross.T, self.problem.canonical_gram], 1)])

    def moment_eigen(self) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
        """Eigenvalues and eigenvectors (columns) of AᵀA, canonical atoms in whitened coordinates among them."""
        return decompose_symmetric(self.dictionary.T @ self.dictionary + self.problem.canonical_moment)

    def product(self) -> Float[Tensor, "units positions"]:
        """X Aᵀ."""
        learned = self.problem.target @ self.dictionary.T
        return torch.cat([learned, self.problem.canonical_product], 1) if self.canonical else learned


def code_penalised(
    atoms: Atoms, anchor: Float[Tensor, "units positions"], penalty: float
) -> Float[Tensor, "units positions"]:
    """argmin over C of ``tr EᵀME + penalty ‖C - anchor‖²``."""
    problem = atoms.problem
    if problem.coupling is None:
        system = atoms.gram()
        system.diagonal().add_(penalty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        return (atoms.product() + penalty * anchor) @ inverse
    # With E = X - V A, what the anchor lacks, the solution is V + G Aᵀ, where G (ρ/μ + AᵀA) = E in M's eigenbasis:
    # only E and G, as wide as an atom, are rotated, not the codes. What is left of rounding G is in the next step's E.
    coupling = problem.coupling
    shift = penalty / coupling.eigen[0].clamp_min(1e-9)[:, None]
    if not len(atoms.dictionary) and problem.canonical is not None:
        # Where nothing is learned AᵀA stays, and what is diagonal in its eigenbasis need not leave it.
        moment, turned, target = problem.turned
        rotated = coupling.rotated(target - anchor @ turned) / (shift + moment)
        return anchor + (to_low_precision(coupling.rotated_back(rotated)) @ problem.rough_turned.T).float()
    rotated = coupling.rotated(problem.target - atoms.combine(anchor))
    return anchor + atoms.roughly_transposed(coupling.rotated_back(_resolvent(atoms, rotated, shift)))


def _resolvent(
    atoms: Atoms, residual: Float[Tensor, "units width"], shift: Float[Tensor, "units 1"]
) -> Float[Tensor, "units width"]:
    """Rows g with ``g (shift + AᵀA) = residual``."""
    dictionary = atoms.dictionary
    if atoms.canonical and atoms.problem.canonical is not None:
        values, basis = atoms.moment_eigen()
        basis = to_low_precision(basis)
        return (
            to_low_precision((to_low_precision(residual) @ basis).float() / (shift + values.clamp_min(0))) @ basis.T
        ).float()
    # AᵀA, identity aside, is diagonalised through the small DDᵀ. What cancels here has to be exact.
    if atoms.canonical:
        shift = shift + 1
    values, basis = decompose_symmetric(dictionary @ dictionary.T)
    values = values.clamp_min(1e-6)
    directions = (basis / values.sqrt()).T @ dictionary
    along = residual @ directions.T
    return residual / shift + (along * (1 / (shift + values) - 1 / shift)) @ directions


def update_dictionary(
    atoms: Atoms, codes: Float[Tensor, "units positions"]
) -> tuple[Float[Tensor, "atoms width"], Float[Tensor, "atoms 1"]]:
    """Least-squares dictionary for fixed codes, atoms scaled to norm 1. Returns it and the norms taken out."""
    problem, count = atoms.problem, len(atoms.dictionary)
    learned = codes[:, :count]
    weighted = learned if problem.coupling is None else problem.coupling.gram @ learned
    target = problem.target
    if atoms.canonical:
        target = target - problem.mix_canonical(codes[:, count:])
    system = learned.T @ weighted
    system.diagonal().add_(1e-6 * float(system.diagonal().mean()) + 1e-12)
    dictionary = torch.cholesky_solve(weighted.T @ target, torch.linalg.cholesky(system))
    norm = dictionary.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return dictionary / norm, norm


def solve_least_squares(
    atoms: Atoms,
    codes: Float[Tensor, "units positions"],
    mask: Bool[Tensor, "units positions"],
    order: Int[Tensor, " units"],
    group: int,
) -> Float[Tensor, "units positions"]:
    """Best codes on the support ``mask``: exact, or by conjugate gradients where the metric couples the units.

    ``order`` lists the units so that every ``group`` neighbours share a support and so one factorized system.
    """
    if atoms.problem.coupling is not None:
        return _coupled(atoms, codes * mask, mask)
    gram, product = atoms.gram(), atoms.product()
    gram.diagonal().add_(1e-6)
    counts = mask.sum(1)
    if int(counts.min()) < int(counts.max()):
        return _of_uneven(gram, product, mask)
    kept = int(counts[0])
    columns = mask[order[::group]].nonzero()[:, 1].view(-1, kept)
    out = torch.zeros_like(codes)
    step = max(1, SYSTEM_ENTRIES // max(1, kept * kept))
    for start in range(0, len(columns), step):
        index = columns[start : start + step]
        rows = order[start * group : (start + len(index)) * group]
        wide = index.repeat_interleave(group, 0)
        right = product[rows].gather(1, wide).view(len(index), group, kept).transpose(1, 2)
        factor = torch.linalg.cholesky(gram[index[:, :, None], index[:, None, :]])
        solved = torch.cholesky_solve(right, factor).transpose(1, 2).reshape(-1, kept)
        out[rows] = torch.zeros(len(rows), out.shape[1]).scatter_(1, wide, solved)
    return out


def _of_uneven(
    gram: Float[Tensor, "positions positions"],
    product: Float[Tensor, "units positions"],
    mask: Bool[Tensor, "units positions"],
) -> Float[Tensor, "units positions"]:
    """The same where units have different numbers of codes: systems of about a size together, filled up with ones."""
    out, by_count = torch.zeros_like(product), mask.sum(1).argsort(descending=True)
    at = 0
    while at < len(by_count) and (kept := int(mask[by_count[at]].sum())):
        rows = by_count[at : at + max(1, min(UNEVEN_ROWS, SYSTEM_ENTRIES // kept**2))]
        index = fill_support(mask[rows], kept)
        there = mask[rows].gather(1, index)
        systems = gram[index[:, :, None], index[:, None, :]] * (there[:, :, None] & there[:, None, :])
        systems.diagonal(dim1=1, dim2=2).add_((~there) + UNEVEN_DAMPING)
        right = (product[rows].gather(1, index) * there).double()
        solved = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(systems.double()))[:, :, 0].to(out)
        out[rows] = torch.zeros(len(rows), out.shape[1]).scatter_(1, index, solved)
        at += len(rows)
    return out


def _coupled(
    atoms: Atoms, codes: Float[Tensor, "units positions"], mask: Bool[Tensor, "units positions"]
) -> Float[Tensor, "units positions"]:
    problem = atoms.problem
    assert problem.coupling is not None
    metric = problem.coupling.gram

    def apply(c: Tensor) -> Tensor:
        return atoms.transposed(metric @ atoms.combine(c)) * mask

    right = atoms.transposed(problem.weighted_target) * mask
    return conjugate_gradients(apply, right, codes, CONJUGATE_STEPS)
