"""Shared dictionary of several weights that read different inputs; each weight has its own codes and its own metric.

It minimises ``sum_k w_k tr EᵀME`` (see ``least_squares``) over one input dictionary D and the codes of every weight k.
For low rank this is Basis Sharing (arXiv 2410.03765), here with the metric of every layer instead of a common one.
Codes are pursued weight by weight, as without sharing. D has the normal equations ``sum_k w_k S_k D G_k = R``, with
``S_k = CᵀMC`` of the codes of learned atoms and ``G_k = L Lᵀ`` of the inputs. Conjugate gradients solve them,
preconditioned with the sum of ``w_k S_k`` and the mean of ``G_k``. That would be exact if all inputs had the same
second moment.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.dense_sparse import POLISH_ROUNDS, penalties
from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.linalg import conjugate_gradients, decompose_symmetric
from dsformer.factorization.sparse_coder import SparseCoder
from dsformer.format.form import Form
from dsformer.format.spec import FormSpec

# Conjugate-gradient steps of an update of the dictionary, which starts from the present one.
DICTIONARY_STEPS = 6


def fit_shared(
    problems: Sequence[LeastSquares], spec: FormSpec, weights: Sequence[float], iterations: int
) -> tuple[Form, list[float]]:
    """Fit one form to several stacked weights at once.

    Args:
        problems: least-squares problem of each weight, posed for an input dictionary.
        spec: shape of the stack, with the free pattern, an input dictionary and rows that are not ragged. Rows become
            ragged where outputs have a metric.
        weights: weight of each problem's squared error.
        iterations: alternations of codes and dictionary.

    Returns:
        The form of the stack, and the relative whitened error of each weight.
    """
    specs = spec.split([len(problem.target) for problem in problems])
    if all(problem.coupling is not None for problem in problems):
        specs = [one.with_ragged_rows() for one in specs]
    dictionary = _start(problems, weights, spec.atoms)
    parts = [SparseCoder(*one, dictionary) for one in zip(problems, specs, weights, strict=True)]
    for penalty in penalties(spec, iterations, problems[0].coupling):
        for part in parts:
            part.pursuit.step(penalty, regroup=False, learn=False)
        dictionary = _updated(parts, dictionary)
    masks = [part.pursuit.supports.select(part.pursuit.codes, regroup=False) for part in parts]
    for polish in range(POLISH_ROUNDS + 1):
        for part, mask in zip(parts, masks, strict=True):
            part.fix_support(mask)
        if polish < POLISH_ROUNDS:
            dictionary = _updated(parts, dictionary)
    forms = [part.form(mask, dictionary) for part, mask in zip(parts, masks, strict=True)]
    return Form.joined(forms), [part.error() for part in parts]


def _start(problems: Sequence[LeastSquares], weights: Sequence[float], atoms: int) -> Float[Tensor, "atoms in"]:
    """Return the leading principal directions of all weights together, in the mean of their metrics."""
    width = problems[0].target.shape[1]
    plain = [one.target if one.unwhiten is None else one.target @ one.unwhiten for one in problems]
    factor = torch.linalg.cholesky(torch.stack([one.atom_gram for one in problems]).mean(0).double())
    moment = torch.zeros(width, width, dtype=torch.float64)
    for problem, weight, rows in zip(problems, weights, plain, strict=True):
        whitened = rows.double() @ factor
        weighted = whitened if problem.coupling is None else problem.coupling.gram.double() @ whitened
        moment += weight * whitened.T @ weighted
    directions = decompose_symmetric(moment)[1].flip(1).T[:atoms]
    return torch.linalg.solve_triangular(factor, directions, upper=False, left=False).float()


def _updated(parts: Sequence[SparseCoder], dictionary: Float[Tensor, "atoms in"]) -> Float[Tensor, "atoms in"]:
    """Update the dictionary for the present codes by conjugate gradients; the codes of all weights follow it."""
    systems, rights = zip(*[part.system() for part in parts], strict=True)
    grams = [part.problem.atom_gram for part in parts]
    total = sum(systems)
    damped = total + 1e-6 * total.diagonal().mean() * torch.eye(len(total))
    of_codes = torch.linalg.cholesky(damped)
    of_inputs = torch.linalg.cholesky(torch.stack(grams).mean(0))

    def apply(d: Tensor) -> Tensor:
        return sum(system @ d @ gram for system, gram in zip(systems, grams, strict=True))

    def precondition(d: Tensor) -> Tensor:
        return torch.cholesky_solve(torch.cholesky_solve(d, of_codes).T, of_inputs).T

    dictionary = conjugate_gradients(apply, sum(rights), dictionary, DICTIONARY_STEPS, precondition)
    for part in parts:
        part.follow(dictionary)
    return dictionary
