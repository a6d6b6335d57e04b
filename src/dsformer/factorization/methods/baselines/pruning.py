"""Pruning: some of the weight's own entries stay; all in the one family of forms."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods.base import Kind, Method
from dsformer.factorization.methods.baselines.sparsegpt import prune
from dsformer.factorization.search import Budget, Family, Fitted, search
from dsformer.factorization.support import choose_support
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.indices import select_codes
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec

# Weights to keep, from which the entries of a row that stay and their values follow.
Chooser = Callable[[Target, FormSpec], tuple[Float[Tensor, "out in"], Bool[Tensor, "out in"]]]


def families(shape: tuple[int, int], pattern: Pattern, stacked: bool) -> list[Family]:
    """Canonical atoms only, every output row its own support."""
    return [Family("input", True, pattern, 0.0)]


def fit_support(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Supports and values by ADMM and least squares."""
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    return search(weight, budget, families(shape, pattern, False), effort, low_rank=False)


def chosen(choose: Chooser, weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Supports and values from one pass over the weight, as many entries in every row: of the largest of all rows
    together, or of a block of columns, rows get more that matter no more (on MiniLM at 2.8x that is 4 to 6 lower in
    fidelity)."""
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    spec = Family("input", True, pattern, 0.0).spec(shape, budget, 0)
    if spec is None:
        return None
    values, mask = choose(weight, spec)
    indices = select_codes(mask, spec)
    empty = torch.empty(0, spec.width)
    form = Form(spec, empty, values.gather(1, indices).contiguous(), indices)
    return Fitted(form, weight.error(form))


def magnitude(weight: Target, spec: FormSpec) -> tuple[Tensor, Tensor]:
    """The largest."""
    return weight.matrix, choose_support(spec, weight.matrix, None)


def wanda(weight: Target, spec: FormSpec) -> tuple[Tensor, Tensor]:
    """The largest of every row after scaling by the norm of what they are multiplied with, as the authors have it."""
    return weight.matrix, choose_support(spec, weight.matrix * weight.metric.gram.diagonal().sqrt(), None)


def sparsegpt(weight: Target, spec: FormSpec) -> tuple[Tensor, Tensor]:
    """Chosen block by block of columns; what is left out is made up for by the columns still to come."""
    return prune(weight.matrix, weight.metric.gram, spec)


KINDS: tuple[Kind, ...] = ("free", "n:m")
PRUNING = Method(
    fit_support,
    "supports by ADMM, values by least squares in the metric of the inputs (ALPS, arXiv 2406.07831)",
    ("free", "grouped", "n:m"),
    families,
    prunes=True,
)
MAGNITUDE = Method(partial(chosen, magnitude), "the largest weights of every row", KINDS, prunes=True)
WANDA = Method(
    partial(chosen, wanda),
    "the largest weights times the norm of their inputs (arXiv 2306.11695)",
    KINDS,
    prunes=True,
)
SPARSEGPT = Method(
    partial(chosen, sparsegpt), "one pass with error compensation (SparseGPT, arXiv 2301.00774)", KINDS, prunes=True
)
