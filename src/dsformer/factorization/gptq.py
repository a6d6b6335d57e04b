"""GPTQ for forms: numbers that are not yet quantized compensate for the error of those that are.

A form is a product of two matrices (see ``format.quantized``). The right one is rounded to nearest. The left one is
solved for again, given the quantized right one, and quantized number by number as in GPTQ (Frantar et al., arXiv
2210.17323). With ``U`` the upper Cholesky factor of the inverse of a row's system, an error ``e`` in number ``j``
changes the numbers after it by ``- e / U_jj * U_j,j:``. Numbers whose errors count for most come first, while most
others remain to compensate for them (the authors' ``act-order``). Numbers that share a scale are neighbours in the
original order. Rows of codes have systems of their own, on their supports.
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

# Damping, as a fraction of the mean diagonal: added to a system before its numbers are quantized (the GPTQ authors'
# value), and before it is solved.
DAMPING, SOLVING = 1e-2, 1e-6


def quantize_gptq(form: Form, gram: Float[Tensor, "in in"], precision: Precision = INT8) -> QuantizedForm:
    """Quantize the factors of a form so that its weight changes little in the metric of the layer's inputs.

    The aim is the weight of the form and not the original dense weight, because the form may have been trained. Where
    it was not trained, its codes are the least-squares solution, and both aims give the same result.

    Args:
        form: form to quantize, whose supports stay as they are.
        gram: second moment of the inputs.
        precision: bits of both factors, and how many numbers share a scale.

    Returns:
        The compensated form, or the one rounded to nearest where that has the smaller error.
    """
    return _compensated(quantize_form(form, precision), form, gram)


def quantize_gptq_by_input(
    form: Form, grams: Sequence[Float[Tensor, "in in"]], rows: Sequence[int], precision: Precision = INT8
) -> QuantizedForm:
    """Quantize a form of stacked layers that read different inputs, each with its own second moment.

    Args:
        form: form to quantize, whose supports stay as they are.
        grams: second moment of each input.
        rows: number of rows that read each input, in order.
        precision: bits of both factors, and how many numbers share a scale.
    """
    if len(rows) == 1:
        return quantize_gptq(form, grams[0], precision)
    plain = quantize_form(form, precision).split(rows)
    return QuantizedForm.joined([_compensated(*one) for one in zip(plain, form.split(rows), grams, strict=True)])


def _compensated(plain: QuantizedForm, form: Form, gram: Float[Tensor, "in in"]) -> QuantizedForm:
    """Return the better of a form rounded to nearest (``plain``) and its compensated version."""
    weight = form.dense().float()

    def error(rounded: QuantizedForm) -> float:
        left = rounded.dense() - weight
        return float((left @ gram * left).sum())

    # Solutions of badly conditioned systems may have numbers so large that quantization steps become coarse.
    if form.spec.orientation == "output":
        return min(plain, _round_dictionary(plain, weight, gram), key=error)
    return min(plain, _round_codes(plain, weight, gram, form.there()), key=error)


def _round_codes(
    rounded: QuantizedForm, weight: Tensor, gram: Tensor, there: Bool[Tensor, "units kept"] | None
) -> QuantizedForm:
    """Solve for the codes on their supports, given the quantized (input) dictionary, and quantize them.

    Args:
        rounded: the form rounded to nearest.
        weight: weight to approximate (out, in).
        gram: second moment of the inputs (in, in).
        there: mask of the codes that exist, where rows are ragged; the others stay zero. None: all exist.
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
    """Solve for the (output) dictionary, given the quantized codes, and quantize it. Its rows share one system."""
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
    """Quadratic forms whose minimisers are the rows: one for each row, or one for all.

    Attributes:
        matrices: the systems with a little damping, to be solved.
        order: order in which the numbers of a row are quantized.
        upper: upper Cholesky factors of the inverses, with more damping, in that order.
    """

    matrices: Float[Tensor, "systems size size"]
    order: Int[Tensor, "systems size"]
    upper: Float[Tensor, "systems size size"]

    @classmethod
    def of(cls, matrices: Float[Tensor, "systems size size"]) -> "_Systems":
        """Damp and factorize systems."""
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
        """Solve for the rows that are the minimisers, given their right-hand sides."""
        factor = torch.linalg.cholesky(self.matrices)
        if len(self.matrices) == 1:
            return torch.cholesky_solve(along.T, factor[0]).T
        return torch.cholesky_solve(along[:, :, None], factor)[:, :, 0]

    def round(
        self, rows: Float[Tensor, "rows size"], bits: int, precision: Precision
    ) -> tuple[Int8[Tensor, "rows size"], BFloat16[Tensor, " scales"]]:
        """Quantize rows to integers near the minimisers, with compensation. Returns the integers and their scales."""
        scales = row_scales(rows, bits, precision)
        order = self.order.expand_as(rows)
        spread = by_row(scales.float(), rows.shape, precision).expand_as(rows).gather(1, order)
        rows, whole = rows.gather(1, order), torch.zeros_like(rows, dtype=torch.int8)
        for j in range(rows.shape[1]):
            whole[:, j] = quantize(rows[:, j], spread[:, j], bits)
            wrong = (rows[:, j] - whole[:, j] * spread[:, j]) / self.upper[:, j, j]
            rows[:, j:] -= wrong[:, None] * self.upper[:, j, j:]
        return torch.zeros_like(whole).scatter_(1, order, whole), scales
