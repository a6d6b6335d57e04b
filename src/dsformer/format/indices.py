"""Which entries of a matrix there are, as indices of equally many columns a row."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.spec import FormSpec


def select_codes(
    mask: Bool[Tensor, "units candidates"], spec: FormSpec, order: Int[Tensor, " units"] | None = None
) -> Int[Tensor, "groups nonzeros"]:
    """The indices of a form whose supports are given.

    Args:
        order: units in the order that makes groups neighbours.
    """
    if spec.ragged:
        return fill_support(mask, spec.nonzeros)
    groups = mask if order is None else mask[order[:: spec.pattern.group]]
    return groups.nonzero()[:, 1].view(spec.groups, spec.nonzeros)


def fill_support(mask: Bool[Tensor, "rows columns"], count: int) -> Int[Tensor, "rows count"]:
    """Columns that are there, ascending, with the first of the others where a row has fewer than so many.

    Raises:
        InputError: a row has more.
    """
    if int(mask.sum(1).max()) > count:
        raise InputError(f"a row has more than {count} entries")
    return mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count].sort(1).values


def sort_entries(form: Form, members: Sequence[int]) -> Form:
    """An ragged form of stacked layers that says how many entries each of them has, and the most of a unit."""
    spec = form.spec
    if not spec.ragged:
        return form
    codes = form.codes()
    there = codes != 0
    sizes = members if spec.orientation == "input" else [spec.units]
    counts = [int(rows.sum()) for rows in there.split(list(sizes))]
    most = max(1, int(there.sum(1).max()))
    layers = tuple((units, max(1, count)) for units, count in zip(sizes, counts, strict=True))
    spec = replace(spec, nonzeros=most, ragged=layers)
    indices = fill_support(there, most)
    return Form(spec, form.dictionary, codes.gather(1, indices), indices)


def implied_support(spec: FormSpec, device: torch.device | None = None) -> Int[Tensor, "groups nonzeros"]:
    """The candidates of every group where no support is stored, int32: all there are or, with blocks, those of its own
    block. By operations that can be part of a graph."""
    each = torch.arange(spec.nonzeros, dtype=torch.int32, device=device)
    if not spec.blocks:
        return each.expand(spec.groups, spec.nonzeros)
    unit = torch.arange(spec.units, dtype=torch.int32, device=device)[:, None]
    if spec.atoms:
        return unit % spec.blocks + each * spec.blocks
    return unit // (spec.units // spec.blocks) * spec.nonzeros + each


def find_nonzeros(
    spec: FormSpec, dictionary: Float[Tensor, "atoms width"] | Int8[Tensor, "atoms width"]
) -> Int[Tensor, "atoms kept"]:
    """Which entries of a sparse dictionary to store, ascending: those that are there, then zeros.

    Raises:
        InputError: an atom has more.
    """
    if spec.inner and spec.blocks:
        return implied_support(spec.inner, dictionary.device).long()
    return fill_support(dictionary != 0, spec.dictionary_nonzeros)
