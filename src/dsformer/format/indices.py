"""Supports as index matrices, with the same number of columns in each row."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from dsformer.errors import ArtefactError, InputError
from dsformer.format.form import Form
from dsformer.format.spec import FormSpec


def select_codes(
    mask: Bool[Tensor, "units candidates"], spec: FormSpec, order: Int[Tensor, " units"] | None = None
) -> Int[Tensor, "groups nonzeros"]:
    """Return the indices of a form from a mask of its supports.

    Args:
        mask: True where a unit selects a candidate; the units of a group have equal rows.
        spec: of the form.
        order: units in the order in which the members of a group are neighbours; None: they already are.
    """
    if spec.ragged:
        return fill_support(_in_order(mask, spec, order), spec.nonzeros)
    groups = mask if order is None else mask[order[:: spec.pattern.group]]
    return groups.nonzero()[:, 1].view(spec.groups, spec.nonzeros)


def select_cells(
    mask: Bool[Tensor, "units candidates"],
    spec: FormSpec,
    indices: Int[Tensor, "groups kept"],
    order: Int[Tensor, " units"] | None = None,
) -> Bool[Tensor, "groups kept"] | None:
    """Return the cells of a form of banked codes, which say what of the indices is selected; None for other patterns.

    Args:
        mask: as of :func:`select_codes`.
        spec: of the form.
        indices: what :func:`select_codes` returned.
        order: as of :func:`select_codes`.
    """
    if not spec.pattern.bank:
        return None
    return _in_order(mask, spec, order).gather(1, indices)


def _in_order(
    mask: Bool[Tensor, "units candidates"], spec: FormSpec, order: Int[Tensor, " units"] | None
) -> Bool[Tensor, "units candidates"]:
    """Return the rows of a ragged support in the order in which they are stored."""
    return mask if order is None or not spec.permuted else mask[order]


def fill_support(mask: Bool[Tensor, "rows columns"], count: int) -> Int[Tensor, "rows count"]:
    """Return the columns of the true entries of each row, ascending.

    Rows with fewer than ``count`` true entries are padded with their first false columns.

    Raises:
        InputError: a row has more than ``count`` true entries.
    """
    if int(mask.sum(1).max()) > count:
        raise InputError(f"a row has more than {count} entries")
    return mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count].sort(1).values


def sort_entries(form: Form, members: Sequence[int]) -> Form:
    """Return a ragged form of stacked layers with a spec that counts the codes of every layer.

    ``nonzeros`` of the new spec is the largest number of a unit. Forms that are not ragged are returned unchanged.

    Args:
        form: of the stacked layers.
        members: output features of every layer.
    """
    spec, there = form.spec, form.there()
    if there is None:
        return form
    codes = replace(form, permutation=None).codes()
    mask = torch.zeros_like(codes, dtype=torch.bool).scatter_(1, form.indices.long(), there)
    sizes = members if spec.orientation == "input" else [spec.units]
    parts = mask.split(list(sizes))
    most, least = max(1, int(mask.sum(1).max())), 0 if spec.pattern.bank else 1
    layers = tuple((len(part), max(least, int(part.sum()))) for part in parts)
    bits = tuple(count_support_bits(spec, part) for part in parts) if spec.pattern.bank else ()
    spec = replace(spec, nonzeros=most, ragged=layers, support_bits=bits)
    indices = fill_support(mask, most)
    cells = None if form.cells is None else mask.gather(1, indices)
    return Form(spec, form.dictionary, codes.gather(1, indices), indices, form.permutation, cells)


def count_support_bits(spec: FormSpec, mask: Bool[Tensor, "units candidates"]) -> int:
    """Return the bits of the banked support of one layer.

    Args:
        spec: of the form that the layer is part of.
        mask: True where a unit selects a candidate.

    Raises:
        ArtefactError: the support is not banked.
    """
    banks = spec.banks((len(mask),), spec.pattern.bank)
    rows = mask.cpu() if spec.orientation == "input" else mask.T.cpu()
    try:
        return banks.total_bits(banks.counts(rows.numpy()))
    except ValueError as error:
        raise ArtefactError(str(error)) from None


def implied_support(spec: FormSpec, device: torch.device | None = None) -> Int[Tensor, "groups nonzeros"]:
    """Return the candidates of every group (int32) where no support is stored.

    These are none, all candidates or, with blocks, those of the unit's block. All operations can be traced into a
    graph.
    """
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
    """Return the columns of the stored entries of a sparse dictionary, ascending: its non-zeros, padded with zeros.

    Raises:
        InputError: an atom has more non-zeros than the spec allows.
    """
    if spec.inner and spec.blocks:
        return implied_support(spec.inner, dictionary.device).long()
    return fill_support(dictionary != 0, spec.dictionary_nonzeros)
