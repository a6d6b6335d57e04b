"""Shape of a stored form: how many values and which bytes there have to be.

The words are those of ``docs/concepts.md``: a unit is what one sparse code describes, its candidates are the atoms
outside of the core, then the unit vectors.
"""

from dataclasses import dataclass
from typing import Literal

from dsformer_runtime.artefact.banked import Banks
from dsformer_runtime.artefact.pattern import FREE, Pattern
from dsformer_runtime.errors import RuntimeInputError

Encoding = Literal["none", "mask", "index", "ragged", "ranks"]


@dataclass(frozen=True)
class Spec:
    """Everything about the form of one module but its numbers.

    Attributes:
        orientation: which factor is the dictionary.
        out_features, in_features: shape of the weight.
        atoms: learned atoms, core atoms included.
        core: atoms that every unit uses; they are the first ones.
        nonzeros: candidates that every unit selects; of a ragged form the most that one selects.
        canonical: unit vectors are among the candidates.
        pattern: constraint on the supports.
        permuted: a permutation that assigns units to groups is stored.
        dictionary_nonzeros: entries of every atom of a sparse input dictionary; 0: the dictionary is dense.
        blocks: of a Monarch matrix, whose supports are not stored; 0: it is none.
        entries: total number of selected candidates, where units select different numbers; 0: they do not, or there
            are none in a banked form.
        ranks_bits: of a banked form, bits of its support.
    """

    orientation: str
    out_features: int
    in_features: int
    atoms: int
    core: int = 0
    nonzeros: int = 0
    canonical: bool = False
    pattern: Pattern = FREE
    permuted: bool = False
    dictionary_nonzeros: int = 0
    blocks: int = 0
    entries: int = 0
    ranks_bits: int = 0

    def __post_init__(self) -> None:
        """Check the combination.

        Raises:
            RuntimeInputError: no form can have it.
        """
        kept, sparse = self.atoms - self.core, self.dictionary_nonzeros
        possible = kept >= 0 and self.nonzeros <= self.candidates and (self.atoms or self.canonical)
        possible = possible and self.atoms <= self.units + self.width
        possible = possible and (not sparse or (self.orientation == "input" and self.atoms > 0))
        possible = possible and sparse < max(1, self.width) and self.units % self.pattern.group == 0
        own_order = not self.core and self.pattern in (FREE, Pattern(bank=self.pattern.bank)) and not self.permuted
        if self.entries or self.pattern.bank:
            possible = possible and own_order and self.entries <= self.units * self.nonzeros
        possible = possible and (self.pattern.bank > 0) == (self.ranks_bits > 0)
        if possible and self.pattern.bank:
            possible = self.banks.counting_bits <= self.ranks_bits <= self.banks.most_bits
        if self.blocks:
            whole = not self.atoms or sparse * self.blocks == self.width
            possible = possible and own_order and not self.entries and self.canonical != (self.atoms > 0) and whole
            possible = possible and self.units % self.blocks == 0 and self.nonzeros * self.blocks == self.candidates
        if self.pattern.m:
            expected = self.candidates // self.pattern.m * self.pattern.n
            mixed = self.canonical and self.atoms > 0
            possible = possible and not mixed and self.candidates % self.pattern.m == 0 and self.nonzeros == expected
        stored = self.atoms * (sparse or self.width) + self.code_count
        if not possible or stored > 2 * self.out_features * self.in_features:
            raise RuntimeInputError(f"impossible form: {self}")

    @property
    def units(self) -> int:
        """Number of units: output rows of an input dictionary, input columns of an output one."""
        return self.out_features if self.orientation == "input" else self.in_features

    @property
    def width(self) -> int:
        """Length of an atom."""
        return self.in_features if self.orientation == "input" else self.out_features

    @property
    def dictionary_shape(self) -> tuple[int, int]:
        """Shape of the dictionary as a dense matrix."""
        return (self.atoms, self.width) if self.orientation == "input" else (self.width, self.atoms)

    @property
    def inner(self) -> "Spec":
        """Spec of a sparse dictionary, a form whose units are atoms that mix unit vectors."""
        kept = self.dictionary_nonzeros
        return Spec("input", self.atoms, self.width, 0, nonzeros=kept, canonical=True, blocks=self.blocks)

    @property
    def candidates(self) -> int:
        """Number of atoms that a unit can select."""
        return self.atoms - self.core + (self.width if self.canonical else 0)

    @property
    def positions(self) -> int:
        """Columns of the written-out codes: all atoms, then the unit vectors."""
        return self.core + self.candidates

    @property
    def ragged(self) -> bool:
        """Whether units select different numbers of candidates."""
        return self.entries > 0 or self.pattern.bank > 0

    @property
    def banks(self) -> Banks:
        """Tiles and banks of the codes as they multiply."""
        positions = tuple(size for size in (self.atoms, self.candidates - self.atoms) if size)
        units = (self.units,)
        rows, columns = (units, positions) if self.orientation == "input" else (positions, units)
        return Banks(rows, columns, self.pattern.bank)

    @property
    def groups(self) -> int:
        """Number of groups of units, each with one support."""
        return self.units // self.pattern.group

    @property
    def code_shape(self) -> tuple[int, int]:
        """Rows in which the codes are stored, and values of each; ragged ones are a single row."""
        return (1, self.entries) if self.ragged else (self.units, self.core + self.nonzeros)

    @property
    def code_count(self) -> int:
        """Number of code values."""
        rows, columns = self.code_shape
        return rows * columns

    @property
    def encoding(self) -> Encoding:
        """How the support is stored; ``none`` where it is empty, full or always the same."""
        if self.ragged:
            return "ranks" if self.pattern.bank else "ragged"
        if self.blocks or self.nonzeros in (0, self.candidates):
            return "none"
        return "index" if self._index_bits < self.candidates else "mask"

    @property
    def field_bits(self) -> int:
        """Bits of one index of a support that is stored as indices."""
        return self.pattern.field_bits(self.candidates)

    @property
    def _index_bits(self) -> int:
        """Bits of the support of one group as indices."""
        return self.pattern.metadata_bits(self.candidates, self.nonzeros)

    @property
    def support_bits(self) -> int:
        """Bits of the stored support, padding excluded."""
        if self.encoding == "ranks":
            return self.ranks_bits
        each = {"none": 0, "index": self._index_bits}.get(self.encoding, self.candidates)
        return self.groups * each

    @property
    def label_bits(self) -> int:
        """Bits of a group's number in a permutation."""
        return (self.groups - 1).bit_length()


def byte_count(bits: int) -> int:
    """Return the bytes of a stream of bits."""
    return (bits + 7) // 8
