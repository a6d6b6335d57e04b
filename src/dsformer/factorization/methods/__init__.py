"""Compression methods by name (``METHODS``): each makes a form of a weight within a budget of bits.

It may import the other modules of ``factorization`` and the layers below. All methods give forms of one family, so that
calibration, allocation, saving, training and evaluation are shared. ``base.py`` defines a ``Method``: a fit function
and flags that say what else it needs. The other files each define one or more: ``dense_sparse.py``,
``double_sparse.py``, ``low_rank.py``, ``monarch.py`` and ``quantization.py``, and ``baselines`` has those of the
literature. ``fit_weight`` calls a method by its name. Start with ``base.py``, then read ``dense_sparse.py``.
"""

from dsformer.errors import UnreachableError
from dsformer.factorization.dense_sparse import DEFAULT_EFFORT, Effort
from dsformer.factorization.methods.base import Method as Method
from dsformer.factorization.methods.baselines.oats import OATS
from dsformer.factorization.methods.baselines.pruning import MAGNITUDE, PRUNING, SPARSEGPT, WANDA
from dsformer.factorization.methods.baselines.rocket import ROCKET
from dsformer.factorization.methods.baselines.structured import STRUCTURED, STUDENT
from dsformer.factorization.methods.dense_sparse import DENSE_SPARSE
from dsformer.factorization.methods.double_sparse import DOUBLE_SPARSE
from dsformer.factorization.methods.low_rank import ASVD, FWSVD, LOW_RANK, SVD
from dsformer.factorization.methods.monarch import MONARCH
from dsformer.factorization.methods.quantization import GPTQ, RTN
from dsformer.factorization.search import Budget, Fitted
from dsformer.factorization.target import Target
from dsformer.format.pattern import FREE, Pattern

METHODS: dict[str, Method] = {
    "dense_sparse": DENSE_SPARSE,
    "low_rank": LOW_RANK,
    "svd": SVD,
    "fwsvd": FWSVD,
    "asvd": ASVD,
    "pruning": PRUNING,
    "magnitude": MAGNITUDE,
    "wanda": WANDA,
    "sparsegpt": SPARSEGPT,
    "oats": OATS,
    "rocket": ROCKET,
    "double_sparse": DOUBLE_SPARSE,
    "monarch": MONARCH,
    "structured": STRUCTURED,
    "student": STUDENT,
    "rtn": RTN,
    "gptq": GPTQ,
}
"""Every method a recipe can name. A new one is added by assigning to its name."""


def fit_weight(
    weight: Target,
    budget: Budget,
    pattern: Pattern = FREE,
    method: str = "dense_sparse",
    effort: Effort = DEFAULT_EFFORT,
) -> Fitted:
    """Compress a weight by a method.

    Args:
        weight: weight to approximate, with its metric.
        budget: bits that the form may take.
        pattern: constraint on supports.
        method: name in ``METHODS``.
        effort: numbers of alternations.

    Returns:
        The chosen form and its relative whitened error.

    Raises:
        UnreachableError: nothing fits the budget.
    """
    fitted = METHODS[method].fit(weight, budget, pattern, effort)
    if fitted is None:
        rows, columns = weight.matrix.shape
        constrained = f" with pattern {pattern}" if METHODS[method].patterns else ""
        what = f"{method} form of a {rows}x{columns} weight{constrained}"
        raise UnreachableError(f"no {what} fits in {budget.bits // 8} bytes")
    return fitted
