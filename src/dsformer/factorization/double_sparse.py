"""Double sparse factorization: the dictionary is sparse too, with the same number of entries in every atom.

Codes are pursued as for a dense dictionary. The dictionary is found by ADMM as well. Its quadratic step
``S D G + ρ (D - anchor) = R``, with ``S = CᵀMC`` of the codes of learned atoms and ``G = L Lᵀ`` of the inputs, is a
Sylvester equation, solved in the eigenbases of S and of G. The projection keeps the largest entries of every atom.
Without unit vectors among the atoms this is Double Sparse Factorization (Boža and Macko, arXiv 2409.18850), in the
library's metric.

Without them the start is sparse already. It is the unit vectors, so that the codes are the pruned weight. Where the
weight is wider than tall it is the rows of the weight, each of which is one atom.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.dense_sparse import penalties
from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.linalg import conjugate_gradients, decompose_symmetric
from dsformer.factorization.sparse_coder import SparseCoder
from dsformer.format.form import Form
from dsformer.format.pattern import largest
from dsformer.format.spec import FormSpec
from dsformer.utils.threads import raise_if_cancelled

# Length of an ADMM step of the dictionary, in units of the step to the quadratic's minimum; 0.5 to 1 % better than 1.
RELAXATION = 1.3
# Rounds of least squares for codes and entries on the final supports, and conjugate-gradient steps for the entries.
POLISH_ROUNDS, POLISH_STEPS = 4, 20


def fit_double(problem: LeastSquares, spec: FormSpec, iterations: int) -> tuple[Form, float]:
    """Fit a form with a sparse dictionary. Deterministic.

    Args:
        problem: posed for an input dictionary.
        spec: shape of the form, whose atoms have ``dictionary_nonzeros`` entries each.
        iterations: alternations of codes and dictionary.

    Returns:
        The form and its relative whitened error.
    """
    dictionary = _start(problem, spec)
    part = SparseCoder(problem, spec, 1.0, dictionary)
    search = Entries(part, part.normalised(dictionary))
    for penalty in penalties(spec, iterations):
        raise_if_cancelled()
        part.pursuit.step(penalty, regroup=False, learn=False)
        search.step(penalty)
    mask = part.pursuit.supports.select(part.pursuit.codes, regroup=False)
    for _ in range(POLISH_ROUNDS):
        part.fix_support(mask)
        search.polish()
    part.fix_support(mask)
    return part.form(mask, search.dictionary), part.error()


def _start(problem: LeastSquares, spec: FormSpec) -> Float[Tensor, "atoms in"]:
    """Return the first dictionary: principal directions beside unit vectors, else unit vectors or the weight's rows."""
    plain = torch.eye(spec.width) if problem.unwhiten is None else problem.unwhiten
    if spec.canonical:
        return problem.start(spec.atoms) @ plain
    if spec.atoms == spec.width:
        return torch.eye(spec.width)
    return (problem.target / problem.unit_scale[:, None] @ plain)[: spec.atoms]


class Entries:
    """The entries of a sparse dictionary, found by ADMM.

    Args:
        part: the codes, which follow the dictionary.
        dictionary: the first dictionary, in plain coordinates.
    """

    def __init__(self, part: SparseCoder, dictionary: Float[Tensor, "atoms in"]):
        self.part, self.dictionary = part, dictionary
        self.dual = torch.zeros_like(dictionary)

    def step(self, penalty: float) -> None:
        """Take one ADMM step of the entries for the present codes, which then follow."""
        problem, (system, right) = self.part.problem, self.part.system()
        system.diagonal().add_(1e-6 * float(system.diagonal().mean()) + 1e-12)
        shift = penalty * float(system.diagonal().mean()) * float(problem.atom_gram.diagonal().mean())
        (of_inputs, basis), (of_codes, mixed) = problem.atom_eigen, decompose_symmetric(system)
        wanted = mixed.T @ (right + shift * (self.dictionary - self.dual)) @ basis
        least = mixed @ (wanted / (of_codes[:, None].clamp_min(0) * of_inputs + shift)) @ basis.T
        relaxed = self.dictionary + RELAXATION * (least - self.dictionary) + self.dual
        kept = relaxed * largest(relaxed.abs(), self.part.spec.dictionary_nonzeros)
        self._take(kept, relaxed - kept)

    def polish(self) -> None:
        """Solve for the entries on the present support by conjugate gradients."""
        system, right = self.part.system()
        gram, there = self.part.problem.atom_gram, self.dictionary != 0
        scale = (system.diagonal()[:, None] * gram.diagonal()).clamp_min(1e-30)

        def apply(d: Tensor) -> Tensor:
            return (system @ d @ gram) * there

        start = self.dictionary
        found = conjugate_gradients(apply, right * there, start, POLISH_STEPS, lambda residual: residual / scale)
        self._take(found, self.dual)

    def _take(self, dictionary: Float[Tensor, "atoms in"], dual: Float[Tensor, "atoms in"]) -> None:
        """Set the dictionary, scaled to atoms of whitened norm 1, and rescale its dual in the same way."""
        self.dictionary = self.part.normalised(dictionary)
        self.dual = dual * (self.dictionary.norm(dim=1) / dictionary.norm(dim=1).clamp_min(1e-30))[:, None]
