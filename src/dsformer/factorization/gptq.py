"""Rounding with compensation: what one number's rounding does wrong, the numbers still to be rounded make up for.

The matrix on the right of the product (see ``rounding``) is rounded to nearest; the one on the left is solved for
again, given that, and rounded number by number as GPTQ does (Frantar et al., arXiv 2210.17323): with ``U`` the upper
Cholesky factor of the inverse of a row's system, an error ``e`` in number ``j`` moves those behind it by
``- e / U_jj * U_j,j:``. Numbers whose errors count for most come first, when most are left to make up for them (the
authors' ``act-order``); scales are of neighbours. Rows of codes have systems of their own, on their supports.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import BFloat16, Bool, Float, Int, Int8
from torch import Tensor

from dsformer.factorization.sparse_coding import SYSTEM_ENTRIES
from dsformer.format.form import Form
from dsformer.format.precision import INT8, Precision
from dsformer.format.quantized import QuantizedForm, by_row, positions, quantize, quantize_form, row_scales
from dsformer.utils.threads import raise_if_cancelled

# Part of the mean diagonal added to a system before its numbers are rounded (that of the authors), and before solving.
DAMPING, SOLVING = 1e-2, 1e-6


def quantize_gptq(form: Form, gram: Float[Tensor, "in in"], precision: Precision = INT8) -> QuantizedForm:
    """A form's factors rounded so that the weight it stands for changes little in the metric of the layer's inputs.

    That the form is near to the dense weight, and not that weight itself, is what is aimed for: it may have been
    trained; where it has not, its codes are what least squares made them, and both come to the same.

    Args:
        form: what is rounded; its supports stay.
        gram: second moment of the inputs.
    """
    return _compensated(quantize_form(form, precision), form, gram)


def quantize_gptq_by_input(
    form: Form, grams: Sequence[Float[Tensor, "in in"]], rows: Sequence[int], precision: Precision = INT8
) -> QuantizedForm:
    """The same for a form whose rows, so many at a time, read inputs with second moments of their own."""
    if len(rows) == 1:
        return quantize_gptq(form, grams[0], precision)
    plain = quantize_form(form, precision).split(rows)
    return QuantizedForm.joined([_compensated(*one) for one in zip(plain, form.split(rows), grams, strict=True)])


def _compensated(plain: QuantizedForm, form: Form, gram: Float[Tensor, "in in"]) -> QuantizedForm:
    weight = form.dense().float()

    def error(rounded: QuantizedForm) -> float:
        left = rounded.dense() - weight
        return float((left @ gram * left).sum())

    # Solutions of badly conditioned systems may have numbers of such sizes that steps become coarse.
    if form.spec.orientation == "output":
        return min(plain, _round_dictionary(plain, weight, gram), key=error)
    return min(plain, _round_codes(plain, weight, gram, form.values != 0 if form.spec.ragged else None), key=error)


def _round_codes(
    rounded: QuantizedForm, weight: Tensor, gram: Tensor, there: Bool[Tensor, "units kept"] | None
) -> QuantizedForm:
    """Input dictionary: the codes are solved for on their supports, given the rounded dictionary.

    Args:
        there: which codes there are, where units have different numbers of them; the others stay zero.
    """
    spec, precision, dictionary = rounded.spec, rounded.precision, rounded.form().dictionary
    atoms = torch.cat([dictionary, torch.eye(spec.width)]) if spec.canonical else dictionary
    weighed = atoms @ gram
    system, along = weighed @ atoms.T, weight @ weighed.T
    if rounded.permutation is not None:
        along = along[rounded.permutation]
    places, values, scales = positions(spec, rounded.indices), [], []
    alike = spec.encoding == "none" and not spec.blocks
    step = len(places) if alike else max(1, SYSTEM_ENTRIES // max(1, places.shape[1] ** 2))
    every = torch.ones_like(places, dtype=torch.bool) if there is None else there
    for rows, wanted, held in zip(places.split(step), along.split(step), every.split(step), strict=True):
        raise_if_cancelled()
        systems = rows[:1] if alike else rows
        matrices = system[systems[:, :, None], systems[:, None, :]]
        if there is not None:
            matrices = matrices * (held[:, :, None] & held[:, None, :])
            matrices.diagonal(dim1=1, dim2=2).add_((~held) * system.diagonal().mean())
        own = _Systems.of(matrices)
        whole, found = own.round(own.solve(wanted.gather(1, rows) * held), precision.codes, precision)
        values.append(whole)
        scales.append(found)
    return replace(rounded, values=torch.cat(values), value_scales=torch.cat(scales))


def _round_dictionary(rounded: QuantizedForm, weight: Tensor, gram: Tensor) -> QuantizedForm:
    """Output dictionary: it is solved for, given the rounded codes; its rows share one system."""
    spec, precision = rounded.spec, rounded.precision
    if not spec.atoms:
        return rounded
    codes = rounded.form().codes().T
    learned = codes[: spec.atoms]
    left = weight - codes[spec.atoms :] if spec.canonical else weight
    weighed = learned @ gram
    shared = _Systems.of((weighed @ learned.T)[None])
    dictionary, scales = shared.round(shared.solve(left @ weighed.T), precision.dictionary, precision)
    return replace(rounded, dictionary=dictionary, dictionary_scales=scales)


@dataclass(frozen=True)
class _Systems:
    """The quadratic forms whose minima rows are: one a row, or one for all.

    Attributes:
        matrices: damped a little, to be solved.
        order: that in which numbers are rounded.
        upper: upper Cholesky factors of the inverses, damped more, in that order.
    """

    matrices: Float[Tensor, "systems size size"]
    order: Int[Tensor, "systems size"]
    upper: Float[Tensor, "systems size size"]

    @classmethod
    def of(cls, matrices: Float[Tensor, "systems size size"]) -> "_Systems":
        diagonal = matrices.diagonal(dim1=1, dim2=2)
        mean = diagonal.mean(1, keepdim=True).clamp_min(1e-30)
        order = diagonal.argsort(dim=1, descending=True)

        def damped(by: float) -> Tensor:
            return matrices + torch.diag_embed(by * mean + torch.zeros_like(diagonal))

        rows, columns = (order[:, :, None].expand_as(matrices), order[:, None].expand_as(matrices))
        ordered = damped(DAMPING).gather(1, rows).gather(2, columns)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
        return cls(damped(SOLVING), order, torch.linalg.cholesky(inverse, upper=True))

    def solve(self, along: Float[Tensor, "rows size"]) -> Float[Tensor, "rows size"]:
        """Rows that are the minima."""
        factor = torch.linalg.cholesky(self.matrices)
        if len(self.matrices) == 1:
            return torch.cholesky_solve(along.T, factor[0]).T
        return torch.cholesky_solve(along[:, :, None], factor)[:, :, 0]

    def round(
        self, rows: Float[Tensor, "rows size"], bits: int, precision: Precision
    ) -> tuple[Int8[Tensor, "rows size"], BFloat16[Tensor, " scales"]]:
        """Rows near the minima in whole numbers, and the scales those have."""
        scales = row_scales(rows, bits, precision)
        order = self.order.expand_as(rows)
        spread = by_row(scales.float(), rows.shape, precision).expand_as(rows).gather(1, order)
        rows, whole = rows.gather(1, order), torch.zeros_like(rows, dtype=torch.int8)
        for j in range(rows.shape[1]):
            whole[:, j] = quantize(rows[:, j], spread[:, j], bits)
            wrong = (rows[:, j] - whole[:, j] * spread[:, j]) / self.upper[:, j, j]
            rows[:, j:] -= wrong[:, None] * self.upper[:, j, j:]
        return torch.zeros_like(whole).scatter_(1, order, whole), scales
