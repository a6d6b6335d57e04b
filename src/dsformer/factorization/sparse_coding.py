"""Sparse coding for a fixed dictionary: one ADMM step under a support constraint, and least squares on a support.

The pursuit is ADMM on ``min f(C) + [C has an allowed support]`` (Boyd et al. 2011, section 9.1; for pruning: Boža,
arXiv 2401.02938, ALPS, arXiv 2406.07831). The quadratic is solved exactly. Correlated and overcomplete atoms, and units
coupled by the metric, are therefore no obstacle to it, as they are to gradient steps.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.linalg import (
    conjugate_gradients,
    decompose_symmetric,
    factorize_damped,
    to_low_precision,
)
from dsformer.format.indices import fill_support

# Matrix entries of a batch of small linear systems that are solved at once, to bound memory.
SYSTEM_ENTRIES = 2**23
# Units with different numbers of codes that are solved at once. They are sorted by that number, so that neighbours have
# systems of about the same size.
RAGGED_ROWS = 64
# Damping of those systems, whose diagonals are 1: a unit may have nearly all atoms, of which some are redundant.
RAGGED_DAMPING = 1e-4
# Conjugate-gradient steps on a support where the metric couples units.
CONJUGATE_STEPS = 5


class Atoms:
    """The atoms A of one iterate: learned ones (norm 1), then the canonical ones if allowed.

    Args:
        problem: least-squares problem whose whitened coordinates the atoms are in.
        dictionary: the learned atoms, one a row.
        canonical: whether unit vectors are atoms too.
    """

    def __init__(self, problem: LeastSquares, dictionary: Float[Tensor, "atoms width"], canonical: bool):
        self.problem, self.dictionary, self.canonical = problem, dictionary, canonical

    def combine(self, codes: Float[Tensor, "units positions"]) -> Float[Tensor, "units width"]:
        """Compute ``C A``, the approximation by codes C."""
        count = len(self.dictionary)
        learned = codes[:, :count] @ self.dictionary
        return learned + self.problem.mix_canonical(codes[:, count:]) if self.canonical else learned

    def transposed(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units positions"]:
        """Compute ``R Aᵀ``, the inner products of rows R with all atoms."""
        learned = rows @ self.dictionary.T
        return torch.cat([learned, self.problem.along_canonical(rows)], 1) if self.canonical else learned

    def roughly_transposed(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units positions"]:
        """Compute ``R Aᵀ`` in low precision."""
        rows, canonical = to_low_precision(rows), self.problem.rough_canonical
        learned = (rows @ to_low_precision(self.dictionary).T).float()
        if not self.canonical:
            return learned
        return torch.cat([learned, (rows if canonical is None else rows @ canonical.T).float()], 1)

    def gram(self) -> Float[Tensor, "positions positions"]:
        """Compute ``A Aᵀ``, the Gram matrix of the atoms."""
        learned = self.dictionary @ self.dictionary.T
        if not self.canonical:
            return learned
        cross = self.problem.along_canonical(self.dictionary)
        return torch.cat([torch.cat([learned, cross], 1), torch.cat([cross.T, self.problem.canonical_gram], 1)])

    def moment_eigen(self) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
        """Compute the eigenvalues and eigenvectors (columns) of ``AᵀA``, whitened canonical atoms included."""
        return decompose_symmetric(self.dictionary.T @ self.dictionary + self.problem.canonical_moment)

    def product(self) -> Float[Tensor, "units positions"]:
        """Compute ``X Aᵀ``, the inner products of the target with all atoms."""
        learned = self.problem.target @ self.dictionary.T
        return torch.cat([learned, self.problem.canonical_product], 1) if self.canonical else learned


def code_penalised(
    atoms: Atoms, anchor: Float[Tensor, "units positions"], penalty: float
) -> Float[Tensor, "units positions"]:
    """Solve ``argmin tr EᵀME + penalty ‖C - anchor‖²`` over the codes C, with ``E = X - C A``.

    Args:
        atoms: the atoms A, with the problem that X and M are of.
        anchor: codes to stay near: in ADMM the present codes minus the scaled dual.
        penalty: the penalty ρ of ADMM.
    """
    problem = atoms.problem
    if problem.coupling is None:
        system = atoms.gram()
        system.diagonal().add_(penalty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        return (atoms.product() + penalty * anchor) @ inverse
    # Let V be the anchor and E = X - V A its residual. The solution is V + G Aᵀ, where G (ρ/μ + AᵀA) = E in M's
    # eigenbasis, with eigenvalues μ. Only E and G are rotated, which are as wide as an atom, and not the codes. The
    # error of rounding G is part of the next step's E.
    coupling = problem.coupling
    shift = penalty / coupling.eigen[0].clamp_min(1e-9)[:, None]
    if not len(atoms.dictionary) and problem.canonical is not None:
        # Where nothing is learned AᵀA never changes. Its eigenbasis is computed once, and E is formed in it directly,
        # because the system is diagonal there.
        moment, turned, target = problem.turned
        rotated = coupling.rotated(target - anchor @ turned) / (shift + moment)
        return anchor + (to_low_precision(coupling.rotated_back(rotated)) @ problem.rough_turned.T).float()
    rotated = coupling.rotated(problem.target - atoms.combine(anchor))
    return anchor + atoms.roughly_transposed(coupling.rotated_back(_resolvent(atoms, rotated, shift)))


def _resolvent(
    atoms: Atoms, residual: Float[Tensor, "units width"], shift: Float[Tensor, "units 1"]
) -> Float[Tensor, "units width"]:
    """Solve ``g (shift + AᵀA) = residual`` for every row g."""
    dictionary = atoms.dictionary
    if atoms.canonical and atoms.problem.canonical is not None:
        values, basis = atoms.moment_eigen()
        basis = to_low_precision(basis)
        return (
            to_low_precision((to_low_precision(residual) @ basis).float() / (shift + values.clamp_min(0))) @ basis.T
        ).float()
    # AᵀA without the identity of canonical atoms is diagonalised through the small DDᵀ. Terms cancel here, so that
    # products have to be exact.
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
    """Solve for the least-squares dictionary of fixed codes.

    Returns:
        The dictionary with atoms scaled to norm 1, and the norms they had.
    """
    problem, count = atoms.problem, len(atoms.dictionary)
    learned = codes[:, :count]
    weighted = learned if problem.coupling is None else problem.coupling.gram @ learned
    target = problem.target
    if atoms.canonical:
        target = target - problem.mix_canonical(codes[:, count:])
    dictionary = torch.cholesky_solve(weighted.T @ target, factorize_damped(learned.T @ weighted))
    norm = dictionary.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return dictionary / norm, norm


def solve_least_squares(
    atoms: Atoms,
    codes: Float[Tensor, "units positions"],
    mask: Bool[Tensor, "units positions"],
    order: Int[Tensor, " units"],
    group: int,
) -> Float[Tensor, "units positions"]:
    """Solve for the codes on a support: exactly, or by conjugate gradients where the metric couples the units.

    Args:
        atoms: the atoms, with their problem.
        codes: where conjugate gradients start.
        mask: the support.
        order: units in an order in which every ``group`` neighbours share a support, and so one factorized system.
        group: units that share a support.
    """
    if atoms.problem.coupling is not None:
        return _coupled(atoms, codes * mask, mask)
    gram, product = atoms.gram(), atoms.product()
    gram.diagonal().add_(1e-6)
    counts = mask.sum(1)
    if int(counts.min()) < int(counts.max()):
        return _of_ragged(gram, product, mask)
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


def _of_ragged(
    gram: Float[Tensor, "positions positions"],
    product: Float[Tensor, "units positions"],
    mask: Bool[Tensor, "units positions"],
) -> Float[Tensor, "units positions"]:
    """Solve for the codes where units have different numbers of them.

    Systems of about the same size are solved together, padded with ones on the diagonal.
    """
    out, by_count = torch.zeros_like(product), mask.sum(1).argsort(descending=True)
    at = 0
    while at < len(by_count) and (kept := int(mask[by_count[at]].sum())):
        rows = by_count[at : at + max(1, min(RAGGED_ROWS, SYSTEM_ENTRIES // kept**2))]
        index = fill_support(mask[rows], kept)
        there = mask[rows].gather(1, index)
        systems = gram[index[:, :, None], index[:, None, :]] * (there[:, :, None] & there[:, None, :])
        systems.diagonal(dim1=1, dim2=2).add_((~there) + RAGGED_DAMPING)
        right = (product[rows].gather(1, index) * there).double()
        solved = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(systems.double()))[:, :, 0].to(out)
        out[rows] = torch.zeros(len(rows), out.shape[1]).scatter_(1, index, solved)
        at += len(rows)
    return out


def _coupled(
    atoms: Atoms, codes: Float[Tensor, "units positions"], mask: Bool[Tensor, "units positions"]
) -> Float[Tensor, "units positions"]:
    """Take conjugate-gradient steps for the codes on a support, where M couples the units."""
    problem = atoms.problem
    assert problem.coupling is not None
    metric = problem.coupling.gram

    def apply(c: Tensor) -> Tensor:
        return atoms.transposed(metric @ atoms.combine(c)) * mask

    right = atoms.transposed(problem.weighted_target) * mask
    return conjugate_gradients(apply, right, codes, CONJUGATE_STEPS)
