"""Codes for a fixed dictionary: one ADMM step under a support constraint, and exact least squares on a support.

The pursuit is ADMM on ``min f(C) + [C has an allowed support]`` (Boyd et al. 2011, section 9.1; for pruning: Boža,
arXiv 2401.02938, ALPS, arXiv 2406.07831): the quadratic is solved exactly, so correlated and overcomplete atoms, and
units coupled by the metric, are no obstacle to it as they are to gradient steps.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.factorization.problem import Problem

# Rows of a batch of small systems solved at once, to bound memory.
SYSTEM_ENTRIES = 2**23
# Conjugate-gradient steps on a support when units are coupled.
CONJUGATE_STEPS = 5


class Atoms:
    """The atoms of one iterate: learned ones (norm 1), then the canonical ones if allowed."""

    def __init__(self, problem: Problem, dictionary: Float[Tensor, "atoms width"], canonical: bool):
        self.problem, self.dictionary, self.canonical = problem, dictionary, canonical

    def matrix(self) -> Float[Tensor, "positions width"]:
        return torch.cat([self.dictionary, self.problem.canonical]) if self.canonical else self.dictionary

    def gram(self) -> Float[Tensor, "positions positions"]:
        learned = self.dictionary @ self.dictionary.T
        if not self.canonical:
            return learned
        cross = self.dictionary @ self.problem.canonical.T
        return torch.cat([torch.cat([learned, cross], 1), torch.cat([cross.T, self.problem.canonical_gram], 1)])

    def product(self) -> Float[Tensor, "units positions"]:
        """X Aᵀ."""
        learned = self.problem.target @ self.dictionary.T
        return torch.cat([learned, self.problem.canonical_product], 1) if self.canonical else learned


def penalised_codes(
    atoms: Atoms, anchor: Float[Tensor, "units positions"], penalty: float
) -> Float[Tensor, "units positions"]:
    """argmin over C of ``tr EᵀME + penalty ‖C - anchor‖²``."""
    problem = atoms.problem
    if problem.coupling is None:
        system = atoms.gram()
        system.diagonal().add_(penalty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        return (atoms.product() + penalty * anchor) @ inverse
    vectors = problem.coupling.vectors
    rotated = vectors.T @ anchor
    if atoms.canonical:
        return vectors @ _coupled_canonical(atoms, rotated, penalty)
    values, basis = torch.linalg.eigh(atoms.gram())
    spectrum = problem.coupling.values[:, None]
    right = spectrum * (problem.rotated_target @ (atoms.dictionary.T @ basis)) + penalty * (rotated @ basis)
    return vectors @ ((right / (spectrum * values.clamp_min(0)[None] + penalty)) @ basis.T)


def _coupled_canonical(
    atoms: Atoms, rotated: Float[Tensor, "units positions"], penalty: float
) -> Float[Tensor, "units positions"]:
    """Row i solves ``c (μ_i A Aᵀ + ρ) = μ_i x_i Aᵀ + ρ v_i`` with ``A = [D; I]``.

    By Woodbury ``c = v + g Aᵀ`` with ``g (ρ/μ_i + I + DᵀD) = x_i - v A``; DᵀD is diagonalised through the small DDᵀ.
    """
    dictionary, count = atoms.dictionary, len(atoms.dictionary)
    residual = atoms.problem.rotated_target - rotated[:, :count] @ dictionary - rotated[:, count:]
    assert atoms.problem.coupling is not None
    shift = 1 + penalty / atoms.problem.coupling.values.clamp_min(1e-9)[:, None]
    values, basis = torch.linalg.eigh(dictionary @ dictionary.T)
    values = values.clamp_min(1e-6)
    directions = (basis / values.sqrt()).T @ dictionary
    along = residual @ directions.T
    solution = residual / shift + (along * (1 / (shift + values) - 1 / shift)) @ directions
    return rotated + torch.cat([solution @ dictionary.T, solution], 1)


def update_dictionary(
    atoms: Atoms, codes: Float[Tensor, "units positions"]
) -> tuple[Float[Tensor, "atoms width"], Float[Tensor, "atoms 1"]]:
    """Least-squares dictionary for fixed codes, atoms scaled to norm 1. Returns it and the norms taken out."""
    problem, count = atoms.problem, len(atoms.dictionary)
    learned = codes[:, :count]
    weighted = learned if problem.coupling is None else problem.coupling.gram @ learned
    target = problem.target
    if atoms.canonical:
        target = target - codes[:, count:] @ problem.canonical
    system = learned.T @ weighted
    system.diagonal().add_(1e-6 * float(system.diagonal().mean()) + 1e-12)
    dictionary = torch.cholesky_solve(weighted.T @ target, torch.linalg.cholesky(system))
    norm = dictionary.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return dictionary / norm, norm


def least_squares(
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
        return _conjugate_gradients(atoms, codes * mask, mask)
    gram, product = atoms.gram(), atoms.product()
    gram.diagonal().add_(1e-6)
    kept = int(mask[0].sum())
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


def _conjugate_gradients(
    atoms: Atoms, codes: Float[Tensor, "units positions"], mask: Bool[Tensor, "units positions"]
) -> Float[Tensor, "units positions"]:
    problem = atoms.problem
    assert problem.coupling is not None
    matrix, metric = atoms.matrix(), problem.coupling.gram

    def apply(c: Tensor) -> Tensor:
        return ((metric @ (c @ matrix)) @ matrix.T) * mask

    residual = (problem.weighted_target @ matrix.T) * mask - apply(codes)
    direction, energy = residual.clone(), residual.square().sum()
    for _ in range(CONJUGATE_STEPS):
        image = apply(direction)
        step = energy / (direction * image).sum().clamp_min(1e-30)
        codes = codes + step * direction
        residual = residual - step * image
        previous, energy = energy, residual.square().sum()
        direction = residual + energy / previous.clamp_min(1e-30) * direction
    return codes
