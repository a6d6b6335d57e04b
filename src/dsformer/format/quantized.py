"""Quantization of forms: integers of 2 to 8 bits with scales, rounded to nearest.

A form represents a product of two matrices, ``W = A B``: codes and dictionary for an input dictionary, dictionary and
transposed codes for an output one. Every row of both has one scale or several, so that the sums along a row, which a
product with an input needs, are sums of integers. A row of ``A`` mixes all atoms (and unit vectors). The length of an
atom is arbitrary, since ``A`` can undo it. Atoms are therefore rescaled first, to lengths at which the columns of ``A``
have similar magnitudes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import BFloat16, Bool, Float, Int, Int8
from torch import Tensor

from dsformer.format.form import Form
from dsformer.format.precision import INT8, Precision
from dsformer.format.spec import FormSpec

# Largest int8. Its range is symmetric, as the kernels expect. Fewer bits use their range in full: the number of largest
# magnitude, whatever its sign, becomes the lowest integer.
LARGEST = 127
# With fewer than 8 bits, clipping the largest magnitudes gives the other numbers finer steps. These fractions of the
# range are tried, and the one of least squared error is taken.
CLIPPINGS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)


@dataclass(frozen=True)
class QuantizedForm:
    """A form in integers: every stored integer stands for itself times its scale.

    Attributes:
        spec, dictionary, values, indices, permutation: as in ``Form``.
        dictionary_scales: of the rows of the dictionary. A row with several scales has them one after another.
        value_scales: of the units of an input dictionary, or of the positions of an output one (atoms, then unit
            vectors if canonical). A unit with several scales has them one after another.
        precision: bits of the integers.
        cells: as in ``Form``.
    """

    spec: FormSpec
    dictionary: Int8[Tensor, "atoms width"] | Int8[Tensor, "width atoms"]
    values: Int8[Tensor, "units kept"]
    indices: Int[Tensor, "groups nonzeros"]
    permutation: Int[Tensor, " units"] | None
    dictionary_scales: BFloat16[Tensor, " dictionary_scales"]
    value_scales: BFloat16[Tensor, " value_scales"]
    precision: Precision = INT8
    cells: Bool[Tensor, "units kept"] | None = None

    def form(self, dtype: torch.dtype = torch.float32) -> Form:
        """Return the form of the numbers that the integers stand for."""
        dictionary = self.dictionary.float()
        if self.spec.atoms:
            dictionary = dictionary * by_row(self.dictionary_scales.float(), dictionary.shape, self.precision)
        values = self.values.float() * self.spread_scales()
        return Form(self.spec, dictionary.to(dtype), values.to(dtype), self.indices, self.permutation, self.cells)

    def dense(self) -> Float[Tensor, "out in"]:
        """Return the weight, as ``Form.dense`` does."""
        return self.form().dense()

    def spread_scales(self) -> Float[Tensor, "units kept"] | Float[Tensor, "units 1"]:
        """Return the scale of every code value."""
        scales = self.value_scales.float()
        if self.spec.orientation == "output":
            return scales[positions(self.spec, self.indices)]
        return by_row(scales, self.values.shape, self.precision)

    def in_own_order(self) -> "QuantizedForm":
        """Return the form without its permutation, as ``Form.in_own_order`` does."""
        return replace(self, spec=replace(self.spec, permuted=False), permutation=None)

    def split(self, out_features: Sequence[int]) -> list["QuantizedForm"]:
        """Return one form for each member, as ``Form.split`` does."""
        if len(out_features) == 1:
            return [self]
        parts = self.form().split(out_features)
        each = self.precision.scales(self.values.shape[1])
        return [
            replace(
                self,
                spec=one.spec,
                values=values,
                indices=one.indices,
                permutation=one.permutation,
                value_scales=scales,
                cells=one.cells,
            )
            for one, values, scales in zip(
                parts,
                self.values.split(list(out_features)),
                self.value_scales.split([n * each for n in out_features]),
                strict=True,
            )
        ]

    @classmethod
    def joined(cls, forms: Sequence["QuantizedForm"]) -> "QuantizedForm":
        """Return the form of stacked layers, as ``Form.joined`` does."""
        whole = Form.joined([one.form() for one in forms])
        return replace(
            forms[0],
            spec=whole.spec,
            values=torch.cat([one.values for one in forms]),
            indices=whole.indices,
            permutation=whole.permutation,
            value_scales=torch.cat([one.value_scales for one in forms]),
            cells=whole.cells,
        )


def by_row(
    scales: Float[Tensor, " scales"], shape: Sequence[int], precision: Precision
) -> Float[Tensor, "rows columns"] | Float[Tensor, "rows 1"]:
    """Return the scale of every number of a matrix, or one column where every row has one scale.

    Args:
        scales: row after row.
        shape: (rows, columns) of the matrix.
        precision: says how many numbers of a row share a scale.
    """
    each = precision.scales(shape[1])
    scales = scales.view(shape[0], each)
    return scales if each == 1 else scales.repeat_interleave(precision.span, 1)[:, : shape[1]]


def positions(spec: FormSpec, indices: Int[Tensor, "groups nonzeros"]) -> Int[Tensor, "units kept"]:
    """Return the position of every code value among the learned atoms, then the unit vectors."""
    core = torch.arange(spec.core, device=indices.device).expand(spec.units, -1)
    return torch.cat([core, spec.core + indices.long().repeat_interleave(spec.pattern.group, 0)], 1)


def quantize_form(form: Form, precision: Precision = INT8) -> QuantizedForm:
    """Quantize a form to nearest, after rescaling its atoms."""
    even = _balanced(form)
    spec = form.spec
    dictionary, dictionary_scales = even.dictionary.to(torch.int8), torch.empty(0, dtype=torch.bfloat16)
    if spec.atoms:
        dictionary, dictionary_scales = quantize_rows(even.dictionary, precision.dictionary, precision)
    if spec.orientation == "input":
        values, value_scales = quantize_rows(even.values, precision.codes, precision)
    else:
        places = positions(spec, form.indices)
        value_scales = choose_scales(even.values, places, spec.core + spec.candidates, precision.codes)
        values = quantize(even.values, value_scales.float()[places], precision.codes)
    own = (dictionary, values, form.indices, form.permutation, dictionary_scales, value_scales)
    return QuantizedForm(spec, *own, precision, form.cells)


def quantize_rows(
    matrix: Float[Tensor, "rows columns"], bits: int, precision: Precision
) -> tuple[Int8[Tensor, "rows columns"], BFloat16[Tensor, " scales"]]:
    """Quantize a matrix to nearest with scales by row, and return the integers and the scales.

    Args:
        matrix: what to quantize.
        bits: of the integers.
        precision: says how many numbers of a row share a scale.
    """
    scales = row_scales(matrix, bits, precision)
    return quantize(matrix, by_row(scales.float(), matrix.shape, precision), bits), scales


def row_scales(matrix: Float[Tensor, "rows columns"], bits: int, precision: Precision) -> BFloat16[Tensor, " scales"]:
    """Choose the scales by row of a matrix. Arguments as of :func:`quantize_rows`."""
    each = precision.scales(matrix.shape[1])
    columns = torch.arange(matrix.shape[1], device=matrix.device) // (precision.span or max(1, matrix.shape[1]))
    places = torch.arange(len(matrix), device=matrix.device)[:, None] * each + columns
    return choose_scales(matrix, places, len(matrix) * each, bits)


def choose_scales(
    numbers: Float[Tensor, "rows columns"], places: Int[Tensor, "rows columns"], count: int, bits: int
) -> BFloat16[Tensor, " scales"]:
    """Choose every scale for the numbers that share it.

    For 8 bits the largest magnitude becomes 127. For fewer bits the scale of least squared error is taken, of several
    that clip the largest magnitudes.

    Args:
        numbers: what to quantize.
        places: index of the scale of every number.
        count: number of scales.
        bits: of the integers.
    """
    numbers, flat = numbers.float(), places.reshape(-1)

    def reduced(entries: Tensor, how: str) -> Tensor:
        return entries.new_zeros(count).scatter_reduce_(0, flat, entries.reshape(-1), how)

    if bits == 8:
        return (reduced(numbers.abs(), "amax") / LARGEST).to(torch.bfloat16)
    high, low = reduced(numbers, "amax"), reduced(numbers, "amin")
    farthest = torch.where(high > -low, high, low) / -(2 ** (bits - 1))
    best = torch.full_like(farthest, torch.inf)
    scales = farthest.to(torch.bfloat16)
    for part in CLIPPINGS:
        tried = (farthest * part).to(torch.bfloat16)
        spread = tried.float()[places]
        error = reduced((quantize(numbers, spread, bits) * spread - numbers).square(), "sum")
        scales, best = torch.where(error < best, tried, scales), torch.minimum(error, best)
    return scales


def integer_bounds(bits: int) -> tuple[int, int]:
    """Return the lowest and the highest integer of ``bits`` bits that quantization uses."""
    return (-LARGEST, LARGEST) if bits == 8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def quantize(numbers: Float[Tensor, "*shape"], scales: Float[Tensor, "..."], bits: int) -> Int8[Tensor, "*shape"]:
    """Round numbers to the nearest integers in units of their scales, clipped to the range of ``bits`` bits.

    Args:
        numbers: what to quantize.
        scales: of every number, or broadcast to them; a scale of 0 gives the integer 0.
        bits: of the integers.
    """
    if not numbers.numel():
        return numbers.to(torch.int8)
    low, high = integer_bounds(bits)
    whole = torch.where(scales != 0, numbers.float() / scales, torch.zeros_like(numbers))
    return whole.round().clamp(low, high).to(torch.int8)


def step_sizes(
    form: Form, precision: Precision
) -> tuple[Float[Tensor, "units kept"], Float[Tensor, "atoms width"] | Float[Tensor, "width atoms"]]:
    """Return the step of quantization to nearest for every code value and every dictionary entry.

    The steps are relative to the numbers of the form itself, before its atoms are rescaled.
    """
    rounded, spec, factors = quantize_form(form, precision), form.spec, _factors(form)
    dictionary = torch.zeros_like(form.dictionary, dtype=torch.float32)
    if spec.atoms:
        lengths = factors[: spec.atoms]
        lengths = lengths[:, None] if spec.orientation == "input" else lengths
        scales = by_row(rounded.dictionary_scales.float(), dictionary.shape, precision)
        dictionary = scales.expand_as(dictionary) / lengths
    return rounded.spread_scales() * factors[positions(spec, form.indices)], dictionary


def _balanced(form: Form) -> Form:
    """Return the same weight with atoms rescaled so that the columns of the left matrix have similar magnitudes."""
    spec, dictionary, values = form.spec, form.dictionary.float(), form.values.float()
    if spec.atoms and values.numel():
        factors = _factors(form)
        lengths = factors[: spec.atoms]
        dictionary = dictionary * (lengths[:, None] if spec.orientation == "input" else lengths)
        values = values / factors[positions(spec, form.indices)]
    return Form(spec, dictionary, values, form.indices, form.permutation, form.cells)


def _factors(form: Form) -> Float[Tensor, " positions"]:
    """Return what every atom is multiplied by to balance a form; 1 for unit vectors."""
    spec = form.spec
    factors = torch.ones(spec.core + spec.candidates, device=form.values.device)
    if not spec.atoms or not form.values.numel():
        return factors
    if spec.orientation == "output":
        factors[: spec.atoms] = 1 / _balance(form.dictionary.float().square().mean(0).sqrt())
        return factors
    values = form.values.float()
    sums = _by_position(values.square(), spec, form.indices, "sum")
    exists = form.there()
    there = torch.ones_like(values) if exists is None else exists.float()
    counts = _by_position(there, spec, form.indices, "sum")
    sizes = (sums / counts.clamp_min(1)).sqrt()
    units = sizes[spec.atoms :]
    common = units.square().mean().sqrt() if spec.canonical else sizes.new_ones(())
    factors[: spec.atoms] = _balance(sizes[: spec.atoms] / (common if common > 0 else 1))
    return factors


def _balance(sizes: Float[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
    """Replace zero sizes by 1: atoms that no unit uses keep their length."""
    return torch.where(sizes > 0, sizes, torch.ones_like(sizes))


def _by_position(
    values: Float[Tensor, "units kept"], spec: FormSpec, indices: Int[Tensor, "groups nonzeros"], how: str
) -> Float[Tensor, " positions"]:
    """Reduce the code values of every position by ``how``."""
    found = values.new_zeros(spec.core + spec.candidates)
    return found.scatter_reduce_(0, positions(spec, indices).reshape(-1), values.reshape(-1), how)
