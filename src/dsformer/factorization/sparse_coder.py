"""The codes of one weight, while a dictionary that is not theirs alone, or not free, is found elsewhere."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.factorization.dense_sparse import Pursuit
from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.sparse_coding import Atoms, solve_least_squares
from dsformer.factorization.support import Supports
from dsformer.format.form import Form
from dsformer.format.indices import select_codes
from dsformer.format.spec import FormSpec

# A dictionary that is not the best for the codes does not go well with steps that are longer than those to the minimum.
PLAIN = 1.0


class SparseCoder:
    """A weight whose codes are pursued here while the dictionary is given from outside, in plain coordinates.

    Args:
        problem: with the orientation of an input dictionary.
        spec: free.
        weight: what a unit of its squared error costs.
        dictionary: to begin with.
    """

    def __init__(self, problem: LeastSquares, spec: FormSpec, weight: float, dictionary: Float[Tensor, "atoms in"]):
        self.problem, self.spec, self.weight = problem, spec, weight
        atoms = self._whitened(dictionary)
        supports, codes = Supports(problem, spec), atoms.product()
        codes[:, spec.atoms :] = 0
        self.pursuit = Pursuit(atoms, codes * supports.select(codes, regroup=True), supports, PLAIN)

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

    def normalised(self, dictionary: Float[Tensor, "atoms in"]) -> Float[Tensor, "atoms in"]:
        """Follow a dictionary, and then take its atoms at norm 1. Returns them."""
        self.follow(dictionary)
        dictionary, self.norm = dictionary / self.norm, torch.ones_like(self.norm)
        return dictionary

    def fix_support(self, mask: Bool[Tensor, "units positions"]) -> None:
        """The best codes on a support."""
        self.pursuit.codes = solve_least_squares(
            self.pursuit.atoms, self.pursuit.codes, mask, torch.arange(len(mask)), 1
        )

    def learned(self) -> Float[Tensor, "units atoms"]:
        """Codes of learned atoms of the length they have in the dictionary."""
        return self.pursuit.codes[:, : self.spec.atoms] / self.norm.T

    def system(self) -> tuple[Float[Tensor, "atoms atoms"], Float[Tensor, "atoms in"]]:
        """S, and this weight's part of R."""
        problem, codes = self.problem, self.learned()
        weighted = codes if problem.coupling is None else problem.coupling.gram @ codes
        wanted = problem.plain_product
        if self.spec.canonical:
            left = problem.target - problem.mix_canonical(self.pursuit.codes[:, self.spec.atoms :])
            wanted = problem.along_plain(left)
        return self.weight * codes.T @ weighted, self.weight * weighted.T @ wanted

    def error(self) -> float:
        return self.problem.error(self.pursuit.atoms.combine(self.pursuit.codes))

    def form(self, mask: Tensor, dictionary: Float[Tensor, "atoms in"]) -> Form:
        codes, spec = self.pursuit.codes.clone(), self.spec
        codes[:, : spec.atoms] = self.learned()
        indices = select_codes(mask[:, spec.core :], spec)
        whitened = self.pursuit.atoms.dictionary * self.norm
        # Undoing the whitening gives each weight the same dictionary but for what rounding does.
        return replace(self.problem.form(spec, codes, whitened, indices, None), dictionary=dictionary)
