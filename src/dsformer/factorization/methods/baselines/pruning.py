"""Unstructured and n:m pruning (ADMM, magnitude, Wanda, SparseGPT): some of the weight's own entries are kept.

In terms of forms there are canonical atoms only.
"""

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

# Chooses the entries that each row keeps. Returns the values they have then, and the mask of those kept.
Chooser = Callable[[Target, FormSpec], tuple[Float[Tensor, "out in"], Bool[Tensor, "out in"]]]


def families(shape: tuple[int, int], pattern: Pattern, stacked: bool) -> list[Family]:
    """Return the one family of pruning: canonical atoms only, and units that are output rows.

    Arguments are as of ``Method.families``.
    """
    return [Family("input", True, pattern, 0.0)]


def fit_support(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Fit supports by ADMM and values by least squares. Arguments are as of ``Method.fit``."""
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    return search(weight, budget, families(shape, pattern, False), effort, low_rank=False)


def chosen(choose: Chooser, weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Choose supports and values in one pass over the weight, with the same number of entries in every row.

    Choosing the largest entries of all rows together, or of a block of columns, would give more entries to rows that
    matter no more (on MiniLM at 2.8x that is 4 to 6 lower in fidelity).
    ``choose`` chooses within rows. The other arguments are as of ``Method.fit``.
    """
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
    """Keep the largest entries of every row."""
    return weight.matrix, choose_support(spec, weight.matrix, None)


def wanda(weight: Target, spec: FormSpec) -> tuple[Tensor, Tensor]:
    """Keep the largest entries of every row after scaling by the norm of their inputs, as the authors do."""
    return weight.matrix, choose_support(spec, weight.matrix * weight.metric.gram.diagonal().sqrt(), None)


def sparsegpt(weight: Target, spec: FormSpec) -> tuple[Tensor, Tensor]:
    """Keep entries chosen block by block of columns; the remaining columns compensate for those removed."""
    return prune(weight.matrix, weight.metric.gram, spec)


KINDS: tuple[Kind, ...] = ("free", "n:m")
PRUNING = Method(
    fit_support,
    "supports by ADMM, values by least squares in the metric of the inputs (ALPS, arXiv 2406.07831)",
    ("free", "grouped", "n:m", "banked"),
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
