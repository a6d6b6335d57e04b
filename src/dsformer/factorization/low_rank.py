"""Low-rank factorization in closed form: the truncated SVD of the whitened weight.

Every atom is a core atom. For one basis shared by stacked layers this is SVD-LLM (arXiv 2403.07378).
"""

import torch

from dsformer.factorization.least_squares import LeastSquares
from dsformer.format.form import Form
from dsformer.format.spec import FormSpec


def fit_low_rank(problem: LeastSquares, spec: FormSpec) -> tuple[Form, float]:
    """Compute the optimal form of rank ``spec.atoms`` (Eckart and Young).

    Returns:
        The form and its relative whitened error.
    """
    atoms = problem.start(spec.atoms)
    codes = problem.target @ atoms.T
    indices = torch.empty(spec.units, 0, dtype=torch.int64)
    return problem.form(spec, codes, atoms, indices, None), problem.error(codes @ atoms)
