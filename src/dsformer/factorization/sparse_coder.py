"""Sparse codes of one weight, while its dictionary is found elsewhere: shared with other weights, or constrained."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.factorization.dense_sparse import Pursuit
from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.sparse_coding import Atoms, solve_least_squares
from dsformer.factorization.support import Supports
from dsformer.format.form import Form
from dsformer.format.indices import select_cells, select_codes
from dsformer.format.spec import FormSpec

# Length of an ADMM step of the codes, in units of the step to the minimum. Longer ones do not go well with a dictionary
# that is not the best for the codes.
PLAIN = 1.0


class SparseCoder:
    """Sparse codes of a weight, while the dictionary is given from outside, in plain (unwhitened) coordinates.

    Args:
        problem: posed for an input dictionary.
        spec: shape of the form, with the free pattern.
        weight: weight of its squared error.
        dictionary: the first dictionary, one atom a row.
    """

    def __init__(self, problem: LeastSquares, spec: FormSpec, weight: float, dictionary: Float[Tensor, "atoms in"]):
        self.problem, self.spec, self.weight = problem, spec, weight
        atoms = self._whitened(dictionary)
        supports, codes = Supports(problem, spec), atoms.product()
        codes[:, spec.atoms :] = 0
        self.pursuit = Pursuit(atoms, codes * supports.select(codes, regroup=True), supports, PLAIN)

    def _whitened(self, dictionary: Float[Tensor, "atoms in"]) -> Atoms:
        """Whiten a dictionary and scale its atoms to norm 1; remember the norms they had."""
        atoms = dictionary if self.problem.whiten is None else dictionary @ self.problem.whiten
        self.norm = atoms.norm(dim=1, keepdim=True).clamp_min(1e-9)
        return Atoms(self.problem, atoms / self.norm, self.spec.canonical)

    def follow(self, dictionary: Float[Tensor, "atoms in"]) -> None:
        """Continue with another dictionary: codes of each atom are rescaled to its new norm."""
        before, r = self.norm, self.spec.atoms
        self.pursuit.atoms = self._whitened(dictionary)
        for one in (self.pursuit.codes, self.pursuit.dual):
            one[:, :r] *= (self.norm / before).T

    def normalised(self, dictionary: Float[Tensor, "atoms in"]) -> Float[Tensor, "atoms in"]:
        """Follow a dictionary, then scale its atoms to whitened norm 1. Returns them."""
        self.follow(dictionary)
        dictionary, self.norm = dictionary / self.norm, torch.ones_like(self.norm)
        return dictionary

    def fix_support(self, mask: Bool[Tensor, "units positions"]) -> None:
        """Solve for the codes on a fixed support."""
        self.pursuit.codes = solve_least_squares(
            self.pursuit.atoms, self.pursuit.codes, mask, torch.arange(len(mask)), 1
        )

    def learned(self) -> Float[Tensor, "units atoms"]:
        """Return the codes of the learned atoms, for atoms at the scale of the given dictionary."""
        return self.pursuit.codes[:, : self.spec.atoms] / self.norm.T

    def system(self) -> tuple[Float[Tensor, "atoms atoms"], Float[Tensor, "atoms in"]]:
        """Compute ``S = CᵀMC`` and this weight's part of R in the dictionary's normal equations, times its weight."""
        problem, codes = self.problem, self.learned()
        weighted = codes if problem.coupling is None else problem.coupling.gram @ codes
        wanted = problem.plain_product
        if self.spec.canonical:
            left = problem.target - problem.mix_canonical(self.pursuit.codes[:, self.spec.atoms :])
            wanted = problem.along_plain(left)
        return self.weight * codes.T @ weighted, self.weight * weighted.T @ wanted

    def error(self) -> float:
        """Compute the relative whitened error of the present codes."""
        return self.problem.error(self.pursuit.atoms.combine(self.pursuit.codes))

    def form(self, mask: Tensor, dictionary: Float[Tensor, "atoms in"]) -> Form:
        """Return the form of the present codes on a support, with the plain dictionary as it is given."""
        codes, spec = self.pursuit.codes.clone(), self.spec
        codes[:, : spec.atoms] = self.learned()
        indices = select_codes(mask[:, spec.core :], spec)
        whitened = self.pursuit.atoms.dictionary * self.norm
        # Undoing the whitening would give each weight the same dictionary only up to rounding errors.
        form = self.problem.form(spec, codes, whitened, indices, None)
        return replace(form, dictionary=dictionary, cells=select_cells(mask[:, spec.core :], spec, indices))
