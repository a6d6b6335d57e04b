"""One dictionary for several weights that read different inputs; each has its own codes and its own metric.

Minimise ``sum_k w_k tr EᵀME`` (see ``problem``) over one input dictionary D and codes of every weight. For low rank
this is Basis Sharing (arXiv 2410.03765), here with the metric of every layer instead of a common one. Codes are pursued
weight by weight, as without sharing. D has the normal equations ``sum_k w_k S_k D G_k = R`` with ``S_k = CᵀMC`` of the
codes of learned atoms and ``G_k = L Lᵀ`` of the inputs; conjugate gradients solve them, preconditioned with the means
of S and of G, with which they would be exact if all inputs were alike.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.codes import Atoms, least_squares
from dsformer.factorization.dense_sparse import POLISH_ROUNDS, Pursuit, penalties
from dsformer.factorization.form import Form, FormSpec
from dsformer.factorization.problem import Problem
from dsformer.factorization.supports import Supports

# Conjugate-gradient steps of an update of the dictionary: it starts from the one before.
DICTIONARY_STEPS = 6


def fit_shared(
    problems: Sequence[Problem], spec: FormSpec, weights: Sequence[float], iterations: int
) -> tuple[Form, list[float]]:
    """Fit a form of stacked weights to all of them at once.

    Args:
        problems: of each weight, with the orientation of an input dictionary.
        spec: of the stack; free, with an input dictionary.
        weights: what a unit of each problem's squared error costs.
        iterations: alternations of codes and dictionary.

    Returns:
        The form of the stack, and the relative whitened error of each weight.
    """
    specs = spec.split([len(problem.target) for problem in problems])
    dictionary = _start(problems, weights, spec.atoms)
    parts = [_Part(*one, dictionary) for one in zip(problems, specs, weights, strict=True)]
    for penalty in penalties(spec, iterations):
        for part in parts:
            part.pursuit.step(penalty, regroup=False, learn=False)
        dictionary = _updated(parts, dictionary)
    masks = [part.pursuit.supports.select(part.pursuit.codes, regroup=False) for part in parts]
    for polish in range(POLISH_ROUNDS + 1):
        for part, mask in zip(parts, masks, strict=True):
            order = torch.arange(len(mask))
            part.pursuit.codes = least_squares(part.pursuit.atoms, part.pursuit.codes, mask, order, 1)
        if polish < POLISH_ROUNDS:
            dictionary = _updated(parts, dictionary)
    forms = [part.form(mask, dictionary) for part, mask in zip(parts, masks, strict=True)]
    return Form.joined(forms), [part.error() for part in parts]


class _Part:
    """One of the weights: its problem, its codes, and the dictionary as it is in its coordinates."""

    def __init__(self, problem: Problem, spec: FormSpec, weight: float, dictionary: Float[Tensor, "atoms in"]):
        self.problem, self.spec, self.weight = problem, spec, weight
        atoms = self._whitened(dictionary)
        supports, codes = Supports(problem, spec), atoms.product()
        codes[:, spec.atoms :] = 0
        self.pursuit = Pursuit(atoms, codes * supports.select(codes, regroup=True), supports)
        self.gram = torch.eye(spec.width) if problem.whiten is None else problem.whiten @ problem.whiten.T

    def _whitened(self, dictionary: Float[Tensor, "atoms in"]) -> Atoms:
        atoms = dictionary if self.problem.whiten is None else dictionary @ self.problem.whiten
        self.norm = atoms.norm(dim=1, keepdim=True).clamp_min(1e-9)
        return Atoms(self.problem, atoms / self.norm, self.spec.canonical)

    def follow(self, dictionary: Float[Tensor, "atoms in"]) -> None:
        """Go on with another dictionary; codes keep to their atoms, whatever length those have now."""
        before, r = self.norm, self.spec.atoms
        self.pursuit.atoms = self._whitened(dictionary)
        for one in (self.pursuit.codes, self.pursuit.dual):
            one[:, :r] *= (self.norm / before).T

    def learned(self) -> Float[Tensor, "units atoms"]:
        """Codes of learned atoms of the length they have in the dictionary."""
        return self.pursuit.codes[:, : self.spec.atoms] / self.norm.T

    def system(self) -> tuple[Float[Tensor, "atoms atoms"], Float[Tensor, "atoms in"]]:
        """S, and this weight's part of R."""
        problem, codes = self.problem, self.learned()
        weighted = codes if problem.coupling is None else problem.coupling.gram @ codes
        target = problem.target
        if self.spec.canonical:
            target = target - problem.mix_canonical(self.pursuit.codes[:, self.spec.atoms :])
        wanted = target if problem.whiten is None else target @ problem.whiten.T
        return self.weight * codes.T @ weighted, self.weight * weighted.T @ wanted

    def error(self) -> float:
        return self.problem.error(self.pursuit.atoms.combine(self.pursuit.codes))

    def form(self, mask: Tensor, dictionary: Float[Tensor, "atoms in"]) -> Form:
        codes, spec = self.pursuit.codes.clone(), self.spec
        codes[:, : spec.atoms] = self.learned()
        indices = mask[:, spec.core :].nonzero()[:, 1].view(spec.groups, spec.nonzeros)
        whitened = self.pursuit.atoms.dictionary * self.norm
        # Undoing the whitening gives each weight the same dictionary but for what rounding does.
        return replace(self.problem.form(spec, codes, whitened, indices, None), dictionary=dictionary)


def _start(problems: Sequence[Problem], weights: Sequence[float], atoms: int) -> Float[Tensor, "atoms in"]:
    """The leading directions of all weights together, in the mean of their metrics."""
    width = problems[0].target.shape[1]
    plain = [one.target if one.unwhiten is None else one.target @ one.unwhiten for one in problems]
    grams = [torch.eye(width) if one.whiten is None else one.whiten @ one.whiten.T for one in problems]
    factor = torch.linalg.cholesky(torch.stack(grams).mean(0).double())
    moment = torch.zeros(width, width, dtype=torch.float64)
    for problem, weight, rows in zip(problems, weights, plain, strict=True):
        whitened = rows.double() @ factor
        weighted = whitened if problem.coupling is None else problem.coupling.gram.double() @ whitened
        moment += weight * whitened.T @ weighted
    directions = torch.linalg.eigh(moment).eigenvectors.flip(1).T[:atoms]
    return torch.linalg.solve_triangular(factor, directions, upper=False, left=False).float()


def _updated(parts: Sequence[_Part], dictionary: Float[Tensor, "atoms in"]) -> Float[Tensor, "atoms in"]:
    """The dictionary nearer to its optimum for the present codes; the parts follow it."""
    systems, rights = zip(*[part.system() for part in parts], strict=True)
    grams = [part.gram for part in parts]
    total = sum(systems)
    damped = total + 1e-6 * total.diagonal().mean() * torch.eye(len(total))
    of_codes = torch.linalg.cholesky(damped)
    of_inputs = torch.linalg.cholesky(torch.stack(grams).mean(0))

    def apply(d: Tensor) -> Tensor:
        return sum(system @ d @ gram for system, gram in zip(systems, grams, strict=True))

    def precondition(d: Tensor) -> Tensor:
        return torch.cholesky_solve(torch.cholesky_solve(d, of_codes).T, of_inputs).T

    residual = sum(rights) - apply(dictionary)
    direction = step = precondition(residual)
    energy = (residual * step).sum()
    for _ in range(DICTIONARY_STEPS):
        image = apply(direction)
        length = energy / (direction * image).sum().clamp_min(1e-30)
        dictionary, residual = dictionary + length * direction, residual - length * image
        step, previous = precondition(residual), energy
        energy = (residual * step).sum()
        direction = step + energy / previous.clamp_min(1e-30) * direction
    for part in parts:
        part.follow(dictionary)
    return dictionary
