"""Blocks with a sparse dictionary: two plans in sequence, each of a pruned matrix."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.format.form import Form
from dsformer.format.indices import find_nonzeros
from dsformer.format.pattern import Pattern
from dsformer.format.quantized import QuantizedForm
from dsformer.format.spec import FormSpec
from dsformer.ops.cpu.plan import CpuPlan
from dsformer.ops.cpu.tuning import tune


class ChainedPlan:
    """Two plans that are called like one :class:`CpuPlan`.

    Args:
        inner: computes the product with the dictionary.
        outer: multiplies that product with the codes.
        canonical: ``outer`` reads the product and the input, one after the other.
    """

    def __init__(self, inner: CpuPlan, outer: CpuPlan, canonical: bool):
        self.inner, self.outer, self.canonical = inner, outer, canonical

    def __call__(self, x: Float[Tensor, "*batch in"]) -> list[Tensor]:
        """Compute one tensor (..., out_features) for every member."""
        product = self.inner(x)[0]
        return self.outer(torch.cat([product, x], -1) if self.canonical else product)


def make_cpu_plan(
    form: Form | QuantizedForm, bias: Float[Tensor, " out"] | None, members: Sequence[int], dtype: torch.dtype
) -> CpuPlan | ChainedPlan:
    """Return the fastest tuned plan of a form. Arguments and errors as of :class:`CpuPlan`."""

    def planned(one: Form | QuantizedForm, bias: Tensor | None = None, members: Sequence[int] | None = None) -> CpuPlan:
        return tune(one.spec, one.values.dtype, partial(CpuPlan.of, one, bias, members, "none", dtype=dtype))

    # With int8 weights the product and the input are quantized with separate scales. Concatenated they would share one.
    if not form.spec.inner or (isinstance(form, QuantizedForm) and form.spec.canonical):
        return planned(form, bias, members)
    return ChainedPlan(planned(_dictionary(form)), planned(_products(form), bias, members), form.spec.canonical)


def _dictionary(form: Form | QuantizedForm) -> Form | QuantizedForm:
    """Return the dictionary as a pruned matrix."""
    assert form.spec.inner is not None
    entries = find_nonzeros(form.spec, form.dictionary)
    kept = form.dictionary.gather(1, entries)
    pruned = _pruned(form, form.spec.inner, kept, entries, permutation=None)
    if isinstance(pruned, QuantizedForm) and isinstance(form, QuantizedForm):
        return replace(pruned, value_scales=form.dictionary_scales)
    return pruned


def _products(form: Form | QuantizedForm) -> Form | QuantizedForm:
    """Return the codes as a pruned matrix that reads the product with the dictionary and, if canonical, the input."""
    spec = form.spec
    width = spec.atoms + (spec.width if spec.canonical else 0)
    core = torch.arange(spec.core).expand(spec.groups, spec.core)
    positions = torch.cat([core, spec.core + form.indices.long()], 1)
    group = Pattern(spec.pattern.group)
    pruned = FormSpec("input", spec.out_features, width, 0, 0, positions.shape[1], True, group, spec.permuted)
    return _pruned(form, pruned, form.values, positions)


def _pruned(
    form: Form | QuantizedForm, spec: FormSpec, values: Tensor, indices: Tensor, **changes: Any
) -> Form | QuantizedForm:
    """Return a form of unit vectors only, with the numbers given."""
    if isinstance(form, QuantizedForm):
        changes["dictionary_scales"] = form.dictionary_scales[:0]
    empty = form.dictionary.new_empty(0, spec.width)
    return replace(form, spec=spec, dictionary=empty, values=values, indices=indices, **changes)
