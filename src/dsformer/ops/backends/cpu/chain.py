"""A block whose dictionary is sparse: two plans, one after the other, each of a pruned matrix."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.form import Form, FormSpec, kept_entries
from dsformer.factorization.rounding import RoundedForm
from dsformer.ops.backends.cpu.plan import CpuPlan
from dsformer.ops.backends.cpu.tuning import Tuning, tuned


class ChainedPlan:
    """As :class:`CpuPlan`: the product with the dictionary, then with codes of it (and, beside it, of the input)."""

    def __init__(self, inner: CpuPlan, outer: CpuPlan, canonical: bool):
        self.inner, self.outer, self.canonical = inner, outer, canonical

    def __call__(self, x: Float[Tensor, "*batch in"]) -> list[Tensor]:
        """One tensor (..., out_features) for every member."""
        product = self.inner(x)[0]
        return self.outer(torch.cat([product, x], -1) if self.canonical else product)


def plan_of(
    form: Form | RoundedForm, bias: Float[Tensor, " out"] | None, members: Sequence[int], dtype: torch.dtype
) -> CpuPlan | ChainedPlan:
    """The plan that runs a form fastest, tuned. Arguments and errors as of ``CpuPlan``."""
    # Whole numbers of products and of inputs have scales of their own, which both joined would not.
    if not form.spec.inner or (isinstance(form, RoundedForm) and form.spec.canonical):
        plain = partial(CpuPlan.of, form, bias, members, "none", dtype=dtype)
        return tuned(form.spec, form.values.dtype, plain)
    first, second = partial(_of_dictionary, form, dtype), partial(_of_products, form, bias, members, dtype)
    kind, joined = form.values.dtype, _joined(form.spec)
    return ChainedPlan(tuned(form.spec.inner, kind, first), tuned(joined, kind, second), form.spec.canonical)


def _joined(spec: FormSpec) -> FormSpec:
    """Codes of the product with the dictionary and of the input beside it, as a pruned matrix."""
    width = spec.atoms + (spec.width if spec.canonical else 0)
    return FormSpec("input", spec.out_features, width, 0, nonzeros=spec.core + spec.nonzeros, canonical=True)


def _of_dictionary(form: Form | RoundedForm, dtype: torch.dtype, tuning: Tuning) -> CpuPlan:
    spec, entries = form.spec, kept_entries(form.dictionary, form.spec.dictionary_nonzeros)
    scales = (torch.empty(0), form.dictionary_scales) if isinstance(form, RoundedForm) else None
    sizes = (spec.atoms, [spec.atoms], spec.width)
    kept = form.dictionary.gather(1, entries)
    return CpuPlan(kept, entries, None, None, None, 0, 1, True, False, *sizes, "none", tuning, scales, dtype)


def _of_products(
    form: Form | RoundedForm, bias: Tensor | None, members: Sequence[int], dtype: torch.dtype, tuning: Tuning
) -> CpuPlan:
    spec, joined = form.spec, _joined(form.spec)
    core = torch.arange(spec.core).expand(spec.groups, spec.core)
    positions = torch.cat([core, spec.core + form.indices.long()], 1)
    scales = (torch.empty(0), form.value_scales) if isinstance(form, RoundedForm) else None
    sizes, order = (spec.out_features, members, joined.width), form.permutation
    group = spec.pattern.group
    return CpuPlan(
        form.values, positions, order, None, bias, 0, group, True, False, *sizes, "none", tuning, scales, dtype
    )
