"""Weight quantization (round to nearest, GPTQ): the dense weight as integers of as many bits as fit.

In terms of forms there are no learned atoms, and the codes are all entries of the weight.
"""

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

# Numbers of a row that share a scale, with fewer than 8 bits: the choice of most tools.
SPAN = 64
# Most bits first. An 8-bit embedding table would have the shape of the one it replaces, so that programs without this
# package would take its integers for floating-point numbers.
PRECISIONS = (INT8, *(Precision(bits, bits, SPAN) for bits in (7, 6, 5, 4, 3, 2)))


def fit(
    rounded: Callable[[Form, Target, Precision], QuantizedForm],
    weight: Target,
    budget: Budget,
    pattern: Pattern,
    effort: Effort,
) -> Fitted | None:
    """Quantize a weight to the most bits that the budget holds.

    ``rounded`` quantizes a dense form of the weight. The other arguments are as of ``Method.fit``.
    """
    whole = dense_form(weight.matrix)
    known = PRECISIONS[1:] if isinstance(weight, EmbeddingTarget) else PRECISIONS
    precision = next((one for one in known if whole.spec.stored_bits(one) <= budget.bits), None)
    if precision is None:
        return None
    form = rounded(whole, weight, precision)
    return Fitted(form, weight.error(form))


def to_nearest(form: Form, weight: Target, precision: Precision) -> QuantizedForm:
    """Round every number to the nearest level, independently of the others.

    Args:
        form: the dense form of the weight.
        weight: the weight and its metric.
        precision: bits of a number, and how many numbers share a scale.
    """
    return quantize_form(form, precision)


def compensated(form: Form, weight: Target, precision: Precision) -> QuantizedForm:
    """Quantize column after column by GPTQ: the remaining columns compensate for the error so far.

    Arguments are as of :func:`to_nearest`.
    """
    return quantize_gptq(form, weight.metric.gram, precision)


RTN = Method(
    partial(fit, to_nearest), "the dense weight rounded to nearest, 8 to 2 bits, a scale for 64 numbers", quantizes=True
)
GPTQ = Method(
    partial(fit, compensated), "the dense weight rounded with compensation (GPTQ, arXiv 2210.17323)", quantizes=True
)
