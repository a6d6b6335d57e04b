"""Shape of a weight's compressed form, and its exact size in bits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Literal

from dsformer.errors import InputError
from dsformer.format.pattern import FREE, Pattern
from dsformer.format.precision import SCALE_BITS, Precision, packed_bytes
from dsformer_runtime.artefact.banked import Banks

Orientation = Literal["input", "output"]
Encoding = Literal["none", "mask", "index", "ranks"]


@dataclass(frozen=True)
class FormSpec:
    """Everything about a form but its numbers.

    A *unit* is what one sparse code describes: an output row (input dictionary, ``W ~ S [D; I]``) or an input column
    (output dictionary, ``W ~ [D, I] S``). The *candidates* of a unit are the learned atoms that are not in the core,
    then the canonical atoms (unit vectors of the dictionary's space). ``units``, ``width`` and ``candidates`` count
    them.

    Attributes:
        orientation: which factor is the dictionary.
        out_features, in_features: shape of the weight.
        atoms: learned atoms, core atoms included.
        core: atoms that every unit uses; they are the first ones.
        nonzeros: candidates that every unit selects; with ``ragged`` the most that one selects.
        canonical: unit vectors are among the candidates.
        pattern: constraint on the supports.
        permuted: a permutation that assigns units to groups is stored.
        dictionary_nonzeros: entries of every atom of a sparse input dictionary; 0: the dictionary is dense.
        ragged: (units, total number of selected candidates) of every stacked layer, where units select different
            numbers.
        blocks: b > 0: the factors of a Monarch matrix, whose supports need not be stored. The dictionary is
            block-diagonal, b blocks of atoms and of inputs, and unit u mixes the atoms a with ``a % b == u % b``. 0:
            supports are free.
        support_bits: with the banked pattern, bits of the support of every stacked layer.
        value_bits: bits of a code value, against which a fit weighs those of banked supports. It is not stored. 0: not
            known.
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
    ragged: tuple[tuple[int, int], ...] = ()
    blocks: int = 0
    support_bits: tuple[int, ...] = ()
    value_bits: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        """Check the combination.

        Raises:
            InputError: no form can have it.
        """
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
        if self.ragged:
            self._check_ragged()
        if self.pattern.bank or self.support_bits:
            self._check_banked()
        if self.blocks:
            self._check_blocks()
        if self.pattern.m:
            expected = self.candidates // self.pattern.m * self.pattern.n
            mixed = self.canonical and self.atoms > 0
            if mixed or self.candidates % self.pattern.m or self.nonzeros != expected:
                raise InputError(
                    f"pattern {self.pattern}: {self.candidates} atoms, {self.nonzeros} non-zeros do not fit"
                )

    def _check_ragged(self) -> None:
        banked = self.pattern == Pattern(bank=self.pattern.bank or 1)
        if self.core or (self.permuted and not banked) or not (banked or self.pattern == FREE):
            raise InputError("ragged codes are free, in their own order, or banked, and without a core")
        least = 0 if banked else 1
        if (
            any(units < 1 or entries < least for units, entries in self.ragged)
            or sum(units for units, _ in self.ragged) != self.units
        ):
            raise InputError(f"ragged codes: {self.ragged} are not the layers of {self.units} units")
        if any(entries > units * self.nonzeros for units, entries in self.ragged):
            raise InputError(f"ragged codes: more entries than {self.nonzeros} for every unit")

    def _check_banked(self) -> None:
        if not self.pattern.bank or not self.ragged or len(self.support_bits) != len(self.ragged):
            raise InputError(f"pattern {self.pattern}: not the bits of the support of every ragged layer")
        for (units, _), bits in zip(self.ragged, self.support_bits, strict=True):
            layer = self.banks((units,), self.pattern.bank)
            if not layer.counting_bits <= bits <= layer.most_bits:
                raise InputError(f"pattern {self.pattern}: {bits} bits are not a support of {units} units")

    def _check_blocks(self) -> None:
        if self.core or self.pattern != FREE or self.permuted or self.ragged or self.canonical == (self.atoms > 0):
            raise InputError("blocks: learned atoms alone, free, without a core, in their own order")
        whole = self.atoms and self.dictionary_nonzeros * self.blocks != self.width
        if self.units % self.blocks or self.nonzeros * self.blocks != self.candidates or whole:
            raise InputError(f"blocks: the factors of {self} are not {self.blocks} blocks each")

    def banks(self, layers: tuple[int, ...], bank: int) -> Banks:
        """Return the tiles and banks of the codes of stacked layers.

        Args:
            layers: units of each.
            bank: columns of a bank.
        """
        positions = tuple(size for size in (self.atoms, self.candidates - self.atoms) if size)
        return Banks(*((layers, positions) if self.orientation == "input" else (positions, layers)), bank)

    @property
    def units(self) -> int:
        """Number of units: output rows for an input dictionary, input columns for an output one."""
        return self.out_features if self.orientation == "input" else self.in_features

    @property
    def width(self) -> int:
        """Length of an atom, which is also the largest number of canonical atoms."""
        return self.in_features if self.orientation == "input" else self.out_features

    @property
    def dictionary_shape(self) -> tuple[int, int]:
        """Shape of the dictionary as a dense matrix."""
        return (self.atoms, self.width) if self.orientation == "input" else (self.width, self.atoms)

    @property
    def inner(self) -> "FormSpec | None":
        """Spec of a sparse dictionary, a form whose units are atoms that mix unit vectors; None: it is dense."""
        if not self.dictionary_nonzeros:
            return None
        kept, blocks = self.dictionary_nonzeros, self.blocks
        return FormSpec("input", self.atoms, self.width, 0, nonzeros=kept, canonical=True, blocks=blocks)

    @property
    def atom_entries(self) -> int:
        """Stored entries of every atom."""
        return self.dictionary_nonzeros or self.width

    @property
    def whole(self) -> bool:
        """Whether the codes are the weight itself with all its entries."""
        return not self.ragged and self.orientation == "input" and not self.atoms and self.nonzeros == self.candidates

    @property
    def candidates(self) -> int:
        """Number of atoms that a unit can select."""
        return self.atoms - self.core + (self.width if self.canonical else 0)

    @property
    def groups(self) -> int:
        """Number of groups of units, each with one support."""
        return self.units // self.pattern.group

    @property
    def value_count(self) -> int:
        """Number of stored values, which is also the multiply-adds for one token: every value is used once."""
        return self.atoms * self.atom_entries + self.code_count

    @property
    def code_count(self) -> int:
        """Number of stored code values."""
        return round(self.units * (self.core + self.mean_nonzeros))

    @property
    def code_shape(self) -> tuple[int, int]:
        """Rows in which the codes of one layer are stored, and values of each; ragged ones are a single row."""
        return (1, self.code_count) if self.ragged else (self.units, self.core + self.nonzeros)

    @property
    def mean_nonzeros(self) -> float:
        """Mean number of selected candidates of a unit."""
        return sum(entries for _, entries in self.ragged) / self.units if self.ragged else self.nonzeros

    @property
    def encoding(self) -> Encoding:
        """How the support is stored.

        ``none`` where it is empty, full or always the same, ``ranks`` where it is banked, else the smaller of bitmask
        and indices.
        """
        if self.ragged:
            return "ranks" if self.pattern.bank else "mask"
        if self.blocks or self.nonzeros in (0, self.candidates):
            return "none"
        return "index" if self.pattern.metadata_bits(self.candidates, self.nonzeros) < self.candidates else "mask"

    @property
    def support_bytes(self) -> int:
        """Bytes of the codes' support."""
        if self.encoding == "none":
            return 0
        if self.support_bits:
            return sum((bits + 7) // 8 for bits in self.support_bits)
        if self.ragged:
            return sum((units * self.candidates + 7) // 8 for units, _ in self.ragged)
        by_index = self.pattern.metadata_bits(self.candidates, self.nonzeros)
        return (self.groups * min(self.candidates, by_index) + 7) // 8

    @property
    def label_bits(self) -> int:
        """Bits of a group's number, stored for every unit."""
        return (self.groups - 1).bit_length()

    @property
    def permutation_bytes(self) -> int:
        """Bytes of the permutation; 0 where none is stored."""
        return (self.units * self.label_bits + 7) // 8 if self.permuted else 0

    def split(self, members: Sequence[int]) -> list["FormSpec"]:
        """Return the spec of each stacked layer; they share the dictionary."""
        if len(members) == 1:
            return [self]
        if self.ragged:
            return [self._part(layers) for layers in self._layers(members)]
        return [replace(self, out_features=count) for count in members]

    def _part(self, layers: slice) -> "FormSpec":
        ragged = self.ragged[layers]
        units = sum(units for units, _ in ragged)
        return replace(self, out_features=units, ragged=ragged, support_bits=self.support_bits[layers])

    def _layers(self, members: Sequence[int]) -> list[slice]:
        """Return where the entries of ``ragged`` of each member are."""
        ends = list(accumulate(units for units, _ in self.ragged))
        bounds = [0, *accumulate(members)]
        if not set(bounds[1:]) <= set(ends) or bounds[-1] != ends[-1]:
            raise InputError(f"ragged codes: {self.ragged} cannot be taken apart into {list(members)} units")
        starts = [0, *(ends.index(end) + 1 for end in bounds[1:])]
        return [slice(start, end) for start, end in pairwise(starts)]

    def with_ragged_rows(self) -> "FormSpec":
        """Return a spec with as many selected candidates in total, which may be in any unit.

        Where the form cannot be ragged, or the ragged form is larger, this spec itself is returned.
        """
        if self.core or self.pattern != FREE or self.permuted or self.ragged or self.encoding != "mask":
            return self
        return replace(self, nonzeros=self.candidates, ragged=((self.units, self.units * self.nonzeros),))

    def with_entries(self, part: float) -> "FormSpec":
        """Return a spec with ``part`` times as many selected candidates, at most all."""
        if not self.ragged:
            return replace(self, nonzeros=min(self.candidates, round(part * self.nonzeros)))
        layers = [(units, min(units * self.candidates, round(part * entries))) for units, entries in self.ragged]
        bits = tuple(
            min(self.banks((units,), self.pattern.bank).most_bits, max(own, round(part * own)))
            for (units, _), own in zip(self.ragged, self.support_bits, strict=bool(self.support_bits))
        )
        nonzeros = self.nonzeros if part <= 1 else self.candidates
        return replace(self, ragged=tuple(layers), support_bits=bits, nonzeros=nonzeros)

    def code_scales(self, precision: Precision) -> int:
        """Return the number of scales of quantized codes.

        These are the scales of every unit of an input dictionary, or one for every position of an output one.
        """
        if self.orientation == "output":
            return self.core + self.candidates
        return self.units * precision.scales(self.core + self.nonzeros)

    def dictionary_scales(self, precision: Precision) -> int:
        """Return the number of scales of all rows of a quantized dictionary."""
        rows, columns = self.dictionary_shape
        return rows * precision.scales(columns) if self.atoms else 0

    def scale_bits(self, bits: int | Precision) -> int:
        """Return the bits of all scales at a precision."""
        precision = Precision.of(bits)
        if not precision.rounded:
            return 0
        return SCALE_BITS * (self.code_scales(precision) + self.dictionary_scales(precision))

    def code_bytes(self, bits: int | Precision) -> int:
        """Return the bytes of the code values: every row is packed separately, ragged layers as one row each."""
        if self.ragged:
            return sum(packed_bytes(entries, Precision.of(bits).codes) for _, entries in self.ragged)
        return self.units * packed_bytes(self.core + self.nonzeros, Precision.of(bits).codes)

    def dictionary_bytes(self, bits: int | Precision) -> int:
        """Return the bytes of the dictionary's values."""
        if self.dictionary_nonzeros:
            return self.atoms * packed_bytes(self.dictionary_nonzeros, Precision.of(bits).dictionary)
        rows, columns = self.dictionary_shape
        return rows * packed_bytes(columns, Precision.of(bits).dictionary)

    @property
    def dictionary_support_bytes(self) -> int:
        """Bytes of the support of a sparse dictionary."""
        return self.inner.support_bytes if self.inner else 0

    def stored_bits(self, bits: int | Precision) -> int:
        """Return the bits of everything stored: values, scales, supports and permutation. Biases are not counted.

        Args:
            bits: of a value, or the precision of both factors.
        """
        supports = self.support_bytes + self.dictionary_support_bytes + self.permutation_bytes
        packed = supports + self.code_bytes(bits) + self.dictionary_bytes(bits)
        return 8 * packed + self.scale_bits(bits)


def dense_spec(out_features: int, in_features: int) -> FormSpec:
    """Return the spec of a weight stored as it is: every support holds all unit vectors."""
    return FormSpec("input", out_features, in_features, atoms=0, nonzeros=in_features, canonical=True)
