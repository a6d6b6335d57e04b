"""The compressed form of one weight: a dictionary, sparse codes, and exactly how many bits they take.

One family holds them all (DESIGN: canonical atoms): dense x sparse, low rank (every atom is a core atom), pruning
(no learned atoms, canonical ones only) and sparse + low rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsformer.errors import InputError
from dsformer.factorization.pattern import FREE, Pattern
from dsformer.factorization.precision import SCALE_BITS, Precision, packed_bytes

Orientation = Literal["input", "output"]
Encoding = Literal["none", "mask", "index"]


@dataclass(frozen=True)
class FormSpec:
    """Everything about a form but its numbers.

    A *unit* is what one sparse code describes: an output row (input dictionary, ``W ~ S [D; I]``) or an input column
    (output dictionary, ``W ~ [D, I] S``). Every unit has ``core`` atoms always on and ``nonzeros`` selected among the
    *candidates*: the other learned atoms, then the canonical ones (unit vectors of the dictionary's space).
    An input dictionary may be sparse itself: then every atom has ``dictionary_nonzeros`` entries; 0: all.
    """

    orientation: Orientation
    out_features: int
    in_features: int
    atoms: int
    core: int = 0
    nonzeros: int = 0
    canonical: bool = False
    pattern: Pattern = FREE
    permuted: bool = False
    dictionary_nonzeros: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for a combination that no form can have."""
        sizes = (self.out_features, self.in_features, self.atoms, self.core, self.nonzeros)
        if min(sizes) < 0 or self.core > self.atoms or self.nonzeros > self.candidates:
            raise InputError(f"impossible form: {self}")
        if self.orientation not in ("input", "output"):
            raise InputError(f"orientation: {self.orientation!r} is not input or output")
        if self.dictionary_nonzeros and not (self.orientation == "input" and self.atoms):
            raise InputError("only an input dictionary can be sparse")
        if not 0 <= self.dictionary_nonzeros < max(1, self.width):
            raise InputError(f"{self.dictionary_nonzeros} entries of an atom of length {self.width}")
        if self.units % self.pattern.group:
            raise InputError(f"pattern {self.pattern}: {self.units} rows cannot be divided into groups")
        if self.pattern.m:
            expected = self.candidates // self.pattern.m * self.pattern.n
            mixed = self.canonical and self.atoms > 0
            if mixed or self.candidates % self.pattern.m or self.nonzeros != expected:
                raise InputError(
                    f"pattern {self.pattern}: {self.candidates} atoms, {self.nonzeros} non-zeros do not fit"
                )

    @property
    def units(self) -> int:
        return self.out_features if self.orientation == "input" else self.in_features

    @property
    def width(self) -> int:
        """Length of an atom, and the number of canonical atoms there can be."""
        return self.in_features if self.orientation == "input" else self.out_features

    @property
    def dictionary_shape(self) -> tuple[int, int]:
        return (self.atoms, self.width) if self.orientation == "input" else (self.width, self.atoms)

    @property
    def inner(self) -> "FormSpec | None":
        """A sparse dictionary as a form of its own, unit vectors mixed to atoms; None: it is dense."""
        if not self.dictionary_nonzeros:
            return None
        return FormSpec("input", self.atoms, self.width, 0, nonzeros=self.dictionary_nonzeros, canonical=True)

    @property
    def atom_entries(self) -> int:
        """Entries stored of every atom."""
        return self.dictionary_nonzeros or self.width

    @property
    def whole(self) -> bool:
        """Whether the codes are the weight itself, all its entries."""
        return self.orientation == "input" and not self.atoms and self.nonzeros == self.candidates

    @property
    def candidates(self) -> int:
        return self.atoms - self.core + (self.width if self.canonical else 0)

    @property
    def groups(self) -> int:
        return self.units // self.pattern.group

    @property
    def value_count(self) -> int:
        """Values stored, and multiply-adds for one token: every value is used once."""
        return self.atoms * self.atom_entries + self.units * (self.core + self.nonzeros)

    @property
    def encoding(self) -> Encoding:
        """How the support is stored: not at all when it is empty or full, else the smaller of bitmask and positions."""
        if self.nonzeros in (0, self.candidates):
            return "none"
        return "index" if self.pattern.metadata_bits(self.candidates, self.nonzeros) < self.candidates else "mask"

    @property
    def support_bytes(self) -> int:
        if self.encoding == "none":
            return 0
        by_index = self.pattern.metadata_bits(self.candidates, self.nonzeros)
        return (self.groups * min(self.candidates, by_index) + 7) // 8

    @property
    def label_bits(self) -> int:
        """Bits that say which group a unit is in."""
        return (self.groups - 1).bit_length()

    @property
    def permutation_bytes(self) -> int:
        return (self.units * self.label_bits + 7) // 8 if self.permuted else 0

    def split(self, members: Sequence[int]) -> list["FormSpec"]:
        """The spec of each stacked layer: its own units, the dictionary shared."""
        if len(members) == 1:
            return [self]
        return [replace(self, out_features=count) for count in members]

    def code_scales(self, precision: Precision) -> int:
        """Scales of rounded codes: of every unit of an input dictionary, every position of an output one."""
        if self.orientation == "output":
            return self.core + self.candidates
        return self.units * precision.scales(self.core + self.nonzeros)

    def dictionary_scales(self, precision: Precision) -> int:
        """Scales of a rounded dictionary: of every row."""
        rows, columns = self.dictionary_shape
        return rows * precision.scales(columns) if self.atoms else 0

    def scale_bits(self, bits: int | Precision) -> int:
        """Bits of the scales at a precision."""
        precision = Precision.of(bits)
        if not precision.rounded:
            return 0
        return SCALE_BITS * (self.code_scales(precision) + self.dictionary_scales(precision))

    def code_bytes(self, bits: int | Precision) -> int:
        """Bytes of the codes' values: every row is packed by itself."""
        return self.units * packed_bytes(self.core + self.nonzeros, Precision.of(bits).codes)

    def dictionary_bytes(self, bits: int | Precision) -> int:
        """Bytes of the dictionary."""
        if self.dictionary_nonzeros:
            return self.atoms * packed_bytes(self.dictionary_nonzeros, Precision.of(bits).dictionary)
        rows, columns = self.dictionary_shape
        return rows * packed_bytes(columns, Precision.of(bits).dictionary)

    @property
    def dictionary_support_bytes(self) -> int:
        """Bytes that say which entries of a sparse dictionary there are."""
        return self.inner.support_bytes if self.inner else 0

    def stored_bits(self, bits: int | Precision) -> int:
        """Bits of everything stored (values, scales, support, permutation), biases aside.

        Args:
            bits: of a value, or those of both factors.
        """
        supports = self.support_bytes + self.dictionary_support_bytes + self.permutation_bytes
        packed = supports + self.code_bytes(bits) + self.dictionary_bytes(bits)
        return 8 * packed + self.scale_bits(bits)


@dataclass(frozen=True)
class Form:
    """A spec and its numbers.

    Attributes:
        dictionary: (atoms, in) for an input dictionary, (out, atoms) for an output one; zeros where a sparse one has
            no entry.
        values: one row a unit: its core values, then its selected ones in ascending candidate order.
        indices: one row a group of units: the selected candidates, ascending; candidate p is learned atom
            ``core + p`` below ``atoms - core`` and canonical atom ``p - (atoms - core)`` from there on.
        permutation: where code i belongs: unit ``permutation[i]`` of the weight, ascending within a group (so that it
            follows from which group every unit is in). None: unit i.
    """

    spec: FormSpec
    dictionary: Float[Tensor, "atoms width"] | Float[Tensor, "width atoms"]
    values: Float[Tensor, "units kept"]
    indices: Int[Tensor, "groups nonzeros"]
    permutation: Int[Tensor, " units"] | None = None

    def codes(self) -> Float[Tensor, "units positions"]:
        """The codes as a dense matrix over the learned and (if allowed) the canonical atoms, in the weight's order."""
        spec = self.spec
        dense = self.values.new_zeros(spec.units, spec.core + spec.candidates)
        dense[:, : spec.core] = self.values[:, : spec.core]
        columns = spec.core + self.indices.repeat_interleave(spec.pattern.group, 0)
        dense.scatter_(1, columns, self.values[:, spec.core :])
        if self.permutation is None:
            return dense
        return torch.empty_like(dense).index_copy_(0, self.permutation, dense)

    def dense(self) -> Float[Tensor, "out in"]:
        """The weight this form stands for."""
        codes, r = self.codes(), self.spec.atoms
        if self.spec.orientation == "input":
            weight = codes[:, :r] @ self.dictionary
        else:
            weight = self.dictionary @ codes[:, :r].T
        if self.spec.canonical:
            weight = weight + (codes[:, r:] if self.spec.orientation == "input" else codes[:, r:].T)
        return weight

    def in_own_order(self) -> "Form":
        """The form of the weight with its units reordered by the permutation, which then need not be stored."""
        return Form(replace(self.spec, permuted=False), self.dictionary, self.values, self.indices, None)

    def split(self, out_features: Sequence[int]) -> list["Form"]:
        """One form a member of a stacked input-dictionary block; all share the dictionary tensor.

        Groups and the permutation never cross members (the fit keeps them apart).
        """
        forms: list[Form] = []
        start, specs = 0, self.spec.split(out_features)
        g = self.spec.pattern.group
        for count in out_features:
            rows, groups = slice(start, start + count), slice(start // g, (start + count) // g)
            permutation = None if self.permutation is None else self.permutation[rows] - start
            forms.append(Form(specs[len(forms)], self.dictionary, self.values[rows], self.indices[groups], permutation))
            start += count
        return forms

    @classmethod
    def joined(cls, forms: Sequence["Form"]) -> "Form":
        """The form of stacked layers from the forms of each: the inverse of :meth:`split`."""
        first = forms[0]
        if len(forms) == 1:
            return first
        starts = [0, *accumulate(form.spec.out_features for form in forms)]
        orders = [
            form.permutation + start for form, start in zip(forms, starts, strict=False) if form.permutation is not None
        ]
        return cls(
            replace(first.spec, out_features=starts[-1]),
            first.dictionary,
            torch.cat([form.values for form in forms]),
            torch.cat([form.indices for form in forms]),
            torch.cat(orders) if orders else None,
        )


def dense_spec(out_features: int, in_features: int) -> FormSpec:
    """The spec of a weight stored as it is: every unit vector is in every support."""
    return FormSpec("input", out_features, in_features, atoms=0, nonzeros=in_features, canonical=True)


def dense_form(matrix: Float[Tensor, "out in"]) -> Form:
    """A weight as the form whose codes are all of its entries."""
    rows, columns = matrix.shape
    every = torch.arange(columns).expand(rows, columns).contiguous()
    return Form(dense_spec(rows, columns), torch.empty(0, columns), matrix.float(), every)


def kept_entries(dictionary: Float[Tensor, "atoms width"], kept: int) -> Int[Tensor, "atoms kept"]:
    """Which entries of a sparse dictionary to store: those that are there, then zeros, ascending.

    Raises:
        InputError: an atom has more.
    """
    there = dictionary != 0
    if int(there.sum(1).max()) > kept:
        raise InputError(f"an atom has more than {kept} entries")
    return there.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :kept].sort(1).values
