"""Factors rounded to int8, to nearest, with a scale for every row.

A form stands for a product of two matrices, ``W = A B``: codes and dictionary for an input dictionary, dictionary and
codes (transposed) for an output one. Every row of both has a scale of its own, so that sums along a row, as a product
with an input needs them, are sums of whole numbers. A row of ``A`` mixes all the atoms (and unit vectors), whose length
says nothing: they are brought to lengths that make the numbers of a row alike first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Float, Int, Int8
from torch import Tensor

from dsformer.factorization.form import Form, FormSpec

LARGEST = 127


@dataclass(frozen=True)
class ByteForm:
    """A form in int8: a number is what is stored times the scale of its row.

    Attributes:
        dictionary, values, indices, permutation: as of ``Form``.
        dictionary_scales: of the rows of the dictionary.
        value_scales: of the units of an input dictionary, of the positions (atoms, then unit vectors if canonical) of
            an output one.
    """

    spec: FormSpec
    dictionary: Int8[Tensor, "atoms width"] | Int8[Tensor, "width atoms"]
    values: Int8[Tensor, "units kept"]
    indices: Int[Tensor, "groups nonzeros"]
    permutation: Int[Tensor, " units"] | None
    dictionary_scales: BFloat16[Tensor, " rows"]
    value_scales: BFloat16[Tensor, " rows"]

    def form(self, dtype: torch.dtype = torch.float32) -> Form:
        """The numbers it stands for."""
        dictionary = self.dictionary.float()
        if self.spec.atoms:
            dictionary = dictionary * self.dictionary_scales.float()[:, None]
        values = self.values.float() * spread(self.spec, self.indices, self.value_scales.float())
        return Form(self.spec, dictionary.to(dtype), values.to(dtype), self.indices, self.permutation)

    def split(self, out_features: Sequence[int]) -> list["ByteForm"]:
        """As ``Form.split``."""
        if len(out_features) == 1:
            return [self]
        parts = Form(self.spec, self.dictionary, self.values, self.indices, self.permutation).split(out_features)
        return [
            ByteForm(one.spec, one.dictionary, one.values, one.indices, one.permutation, self.dictionary_scales, scales)
            for one, scales in zip(parts, self.value_scales.split(list(out_features)), strict=True)
        ]

    @classmethod
    def joined(cls, forms: Sequence["ByteForm"]) -> "ByteForm":
        """As ``Form.joined``."""
        whole = Form.joined([Form(one.spec, one.dictionary, one.values, one.indices, one.permutation) for one in forms])
        scales = torch.cat([one.value_scales for one in forms])
        first = forms[0].dictionary_scales
        return cls(whole.spec, whole.dictionary, whole.values, whole.indices, whole.permutation, first, scales)


def spread(
    spec: FormSpec, indices: Int[Tensor, "groups nonzeros"], scales: Float[Tensor, " rows"]
) -> Float[Tensor, "units kept"] | Float[Tensor, "units 1"]:
    """The scale of every value."""
    return scales[:, None] if spec.orientation == "input" else scales[positions(spec, indices)]


def positions(spec: FormSpec, indices: Int[Tensor, "groups nonzeros"]) -> Int[Tensor, "units kept"]:
    """The position of every value among the atoms, then the unit vectors."""
    core = torch.arange(spec.core, device=indices.device).expand(spec.units, -1)
    return torch.cat([core, spec.core + indices.long().repeat_interleave(spec.pattern.group, 0)], 1)


def round_form(form: Form) -> ByteForm:
    """The form to nearest in int8."""
    balanced = _balanced(form)
    spec, indices = form.spec, form.indices
    dictionary_scales = _scales(_largest(balanced.dictionary)[: spec.dictionary_scales])
    dictionary = _nearest(balanced.dictionary, dictionary_scales.float()[:, None])
    if spec.orientation == "input":
        value_scales = _scales(_largest(balanced.values))
    else:
        value_scales = _scales(_by_position(balanced.values.abs(), spec, indices, "amax"))
    values = _nearest(balanced.values, spread(spec, indices, value_scales.float()))
    return ByteForm(spec, dictionary, values, indices, form.permutation, dictionary_scales, value_scales)


def _balanced(form: Form) -> Form:
    """The same weight with atoms of such lengths that the columns of the matrix on the left are alike."""
    spec = form.spec
    if not spec.atoms or not form.values.numel():
        return Form(spec, form.dictionary.float(), form.values.float(), form.indices, form.permutation)
    dictionary, values = form.dictionary.float(), form.values.float()
    if spec.orientation == "output":
        sizes = _settled(dictionary.square().mean(0).sqrt())
        factors = torch.cat([sizes, sizes.new_ones(spec.core + spec.candidates - spec.atoms)])
        dictionary, values = dictionary / sizes, values * factors[positions(spec, form.indices)]
    else:
        where = positions(spec, form.indices)
        sums = _by_position(values.square(), spec, form.indices, "sum")
        counts = _by_position(torch.ones_like(values), spec, form.indices, "sum")
        sizes = (sums / counts.clamp_min(1)).sqrt()
        units = sizes[spec.atoms :]
        common = units.square().mean().sqrt() if spec.canonical else sizes.new_ones(())
        factors = _settled(sizes[: spec.atoms] / (common if common > 0 else 1))
        dictionary = dictionary * factors[:, None]
        values = values / torch.cat([factors, factors.new_ones(len(units))])[where]
    return Form(spec, dictionary, values, form.indices, form.permutation)


def _settled(sizes: Float[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
    """Atoms that nothing uses keep their length."""
    return torch.where(sizes > 0, sizes, torch.ones_like(sizes))


def _by_position(
    values: Float[Tensor, "units kept"], spec: FormSpec, indices: Int[Tensor, "groups nonzeros"], how: str
) -> Float[Tensor, " positions"]:
    found = values.new_zeros(spec.core + spec.candidates)
    return found.scatter_reduce_(0, positions(spec, indices).reshape(-1), values.reshape(-1), how)


def _scales(largest: Float[Tensor, " rows"]) -> BFloat16[Tensor, " rows"]:
    return (largest.float() / LARGEST).to(torch.bfloat16)


def _largest(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, " rows"]:
    return matrix.abs().amax(1) if matrix.shape[1] else matrix.new_zeros(matrix.shape[0])


def _nearest(matrix: Float[Tensor, "rows columns"], scales: Float[Tensor, "..."]) -> Int8[Tensor, "rows columns"]:
    if not matrix.numel():
        return matrix.to(torch.int8)
    whole = torch.where(scales > 0, matrix.float() / scales, torch.zeros_like(matrix))
    return whole.round().clamp(-LARGEST, LARGEST).to(torch.int8)
