"""The method dense x sparse: all shapes, patterns and special cases, searched for the least whitened error."""

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods.base import Method
from dsformer.factorization.search import Budget, Family, Fitted, search
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern
from dsformer.format.spec import Orientation


def families(shape: tuple[int, int], pattern: Pattern, stacked: bool) -> list[Family]:
    """Return families with and without canonical atoms; output dictionaries where the weight is wider than tall.

    Arguments are as of ``Method.families``.
    """
    orientation: Orientation = "output" if shape[1] > shape[0] and not stacked else "input"
    if pattern.m:
        return [Family(orientation, False, pattern, 1.0)]
    grouped = pattern.group > 1
    return [
        Family(orientation, True, pattern, 1.0 if grouped else 0.45),
        Family(orientation, False, pattern, 1.5 if grouped else 2.0),
    ]


def fit(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Search for the form of least error; low rank is always a candidate. Arguments are as of ``Method.fit``."""
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    return search(weight, budget, families(shape, pattern, len(weight.members) > 1), effort)


DENSE_SPARSE = Method(
    fit,
    "a small dense matrix times a sparse one, learned in the metric of the inputs (after DSFormer, arXiv 2312.13211)",
    ("free", "grouped", "n:m", "banked"),
    families,
    shares_dictionaries=True,
)
