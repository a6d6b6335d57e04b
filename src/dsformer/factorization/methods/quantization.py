"""The dense weight in whole numbers of as many bits as fit: the form whose codes are all of the weight's entries."""

from collections.abc import Callable
from functools import partial

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.gptq import quantize_gptq
from dsformer.factorization.methods.base import Method
from dsformer.factorization.search import Budget, Fitted
from dsformer.factorization.target import EmbeddingTarget, Target
from dsformer.format.form import Form, dense_form
from dsformer.format.pattern import Pattern
from dsformer.format.precision import INT8, Precision
from dsformer.format.quantized import QuantizedForm, quantize_form

# Numbers of a row that share a scale, with fewer than 8 bits: what most tools take.
SPAN = 64
# Most bits first. A table in 8 would have the shape of the one it replaces, which programs without this package take
# for floating-point numbers.
PRECISIONS = (INT8, *(Precision(bits, bits, SPAN) for bits in (7, 6, 5, 4, 3, 2)))


def fit(
    rounded: Callable[[Form, Target, Precision], QuantizedForm],
    weight: Target,
    budget: Budget,
    pattern: Pattern,
    effort: Effort,
) -> Fitted | None:
    """Rounded to the most bits that the budget holds."""
    whole = dense_form(weight.matrix)
    known = PRECISIONS[1:] if isinstance(weight, EmbeddingTarget) else PRECISIONS
    precision = next((one for one in known if whole.spec.stored_bits(one) <= budget.bits), None)
    if precision is None:
        return None
    form = rounded(whole, weight, precision)
    return Fitted(form, weight.error(form))


def to_nearest(form: Form, weight: Target, precision: Precision) -> QuantizedForm:
    """Every number by itself."""
    return quantize_form(form, precision)


def compensated(form: Form, weight: Target, precision: Precision) -> QuantizedForm:
    """Column after column, what is still to come making up for what was."""
    return quantize_gptq(form, weight.metric.gram, precision)


RTN = Method(
    partial(fit, to_nearest), "the dense weight rounded to nearest, 8 to 2 bits, a scale for 64 numbers", quantizes=True
)
GPTQ = Method(
    partial(fit, compensated), "the dense weight rounded with compensation (GPTQ, arXiv 2210.17323)", quantizes=True
)
