"""Fit the two factors of a Monarch matrix: block-diagonal ones, with a fixed permutation between them.

Rows ``u % b == j`` of the weight and inputs of the i-th of b blocks are a matrix of low rank of their own, so that
without correlations between blocks of inputs the optimum is an SVD of each (Dao et al., arXiv 2204.00595, where ranks
are 1 and b is the root of the width). That is the start here, each in its own part of the metric; correlations are what
alternating between the factors then takes in: exact codes for the dictionary, and a dictionary for the codes by
conjugate gradients.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.double_sparse import Entries
from dsformer.factorization.form import Form
from dsformer.factorization.part import Part
from dsformer.factorization.problem import Problem
from dsformer.factorization.spec import FormSpec


def fit_monarch(problem: Problem, spec: FormSpec, rounds: int) -> tuple[Form, float]:
    """Fit ``spec``, which has blocks, to a problem of an input dictionary.

    Returns the form and its relative whitened error. Deterministic.
    """
    dictionary = projected(problem, spec)
    part = Part(problem, spec, 1.0, dictionary)
    entries = Entries(part, part.normalised(dictionary))
    mask = part.pursuit.supports.select(part.pursuit.codes, regroup=False)
    part.settle(mask)
    for _ in range(rounds):
        entries.polish()
        part.settle(mask)
    return part.form(mask, entries.dictionary), part.error()


def projected(problem: Problem, spec: FormSpec) -> Float[Tensor, "atoms in"]:
    """The dictionary of the projection: right singular vectors of every pair of blocks, in the metric of its inputs."""
    b, each, size = spec.blocks, spec.atoms // spec.blocks, spec.width // spec.blocks
    weight = problem.target if problem.unwhiten is None else problem.target @ problem.unwhiten
    dictionary = torch.zeros(spec.atoms, spec.width)
    for i in range(b):
        inputs, atoms = slice(i * size, (i + 1) * size), torch.arange(i * each, (i + 1) * each)
        factor = torch.linalg.cholesky(problem.atom_gram[inputs, inputs])
        for j in range(b):
            own = atoms[atoms % b == j]
            right = torch.linalg.svd(weight[j::b, inputs] @ factor, full_matrices=False).Vh[: len(own)]
            dictionary[own, inputs] = torch.linalg.solve_triangular(factor, right, upper=False, left=False)
    return dictionary
