"""A block whose dictionary is sparse: two plans, one after the other, each of a pruned matrix."""

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
    """As :class:`CpuPlan`: the product with the dictionary, then with codes of it (and, beside it, of the input)."""

    def __init__(self, inner: CpuPlan, outer: CpuPlan, canonical: bool):
        self.inner, self.outer, self.canonical = inner, outer, canonical

    def __call__(self, x: Float[Tensor, "*batch in"]) -> list[Tensor]:
        """One tensor (..., out_features) for every member."""
        product = self.inner(x)[0]
        return self.outer(torch.cat([product, x], -1) if self.canonical else product)


def make_cpu_plan(
    form: Form | QuantizedForm, bias: Float[Tensor, " out"] | None, members: Sequence[int], dtype: torch.dtype
) -> CpuPlan | ChainedPlan:
    """The plan that runs a form fastest, tuned. Arguments and errors as of ``CpuPlan``."""

    def planned(one: Form | QuantizedForm, bias: Tensor | None = None, members: Sequence[int] | None = None) -> CpuPlan:
        return tune(one.spec, one.values.dtype, partial(CpuPlan.of, one, bias, members, "none", dtype=dtype))

    # Whole numbers of products and of inputs have scales of their own, which both joined would not.
    if not form.spec.inner or (isinstance(form, QuantizedForm) and form.spec.canonical):
        return planned(form, bias, members)
    return ChainedPlan(planned(_dictionary(form)), planned(_products(form), bias, members), form.spec.canonical)


def _dictionary(form: Form | QuantizedForm) -> Form | QuantizedForm:
    """The dictionary as a pruned matrix."""
    assert form.spec.inner is not None
    entries = find_nonzeros(form.spec, form.dictionary)
    kept = form.dictionary.gather(1, entries)
    pruned = _pruned(form, form.spec.inner, kept, entries, permutation=None)
    if isinstance(pruned, QuantizedForm) and isinstance(form, QuantizedForm):
        return replace(pruned, value_scales=form.dictionary_scales)
    return pruned


def _products(form: Form | QuantizedForm) -> Form | QuantizedForm:
    """Codes of the product with the dictionary, and of the input beside it, as a pruned matrix."""
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
    """A form of unit vectors alone with the numbers given."""
    if isinstance(form, QuantizedForm):
        changes["dictionary_scales"] = form.dictionary_scales[:0]
    empty = form.dictionary.new_empty(0, spec.width)
    return replace(form, spec=spec, dictionary=empty, values=values, indices=indices, **changes)
