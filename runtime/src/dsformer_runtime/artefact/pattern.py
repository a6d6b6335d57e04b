"""Sparsity patterns of the codes: free, grouped, n:m, banked."""

import math
import re
from dataclasses import dataclass
from typing import Self

from dsformer_runtime.artefact.banked import LARGEST_BANK, STEP
from dsformer_runtime.errors import RuntimeInputError

# Largest group that can share a support, and largest m of n:m.
LARGEST = 2**16
# Columns of a bank.
BANKS = range(STEP, LARGEST_BANK + 1, STEP)
_COUNT = "([0-9]{1,9})"


@dataclass(frozen=True)
class Pattern:
    """A constraint on supports. Groups, n:m and banks exclude each other.

    Attributes:
        group: number of neighbouring units that share one support; 1: every unit has its own.
        n: selected atoms of each set of ``m``.
        m: size of a set of atoms, which are taken by stride; 0: any atoms may be selected.
        bank: neighbouring columns of the sparse factor of which all rows of a tile select as many (see ``banked.py``);
            0: rows are independent.
    """

    group: int = 1
    n: int = 0
    m: int = 0
    bank: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``free``, ``grouped(8)``, ``2:4`` or ``banked(64)``.

        Raises:
            RuntimeInputError: the text is none of these.
        """
        if text == "free":
            return cls()
        if (match := re.fullmatch(rf"grouped\({_COUNT}\)", text)) and 2 <= int(match[1]) <= LARGEST:
            return cls(group=int(match[1]))
        if (match := re.fullmatch(f"{_COUNT}:{_COUNT}", text)) and 1 <= int(match[1]) < int(match[2]) <= LARGEST:
            return cls(n=int(match[1]), m=int(match[2]))
        if (match := re.fullmatch(rf"banked\({_COUNT}\)", text)) and int(match[1]) in BANKS:
            return cls(bank=int(match[1]))
        raise RuntimeInputError(f"pattern: {text[:40]!r} is not known to this version")

    def __str__(self) -> str:
        if self.m:
            return f"{self.n}:{self.m}"
        if self.bank:
            return f"banked({self.bank})"
        return f"grouped({self.group})" if self.group > 1 else "free"

    def field_bits(self, candidates: int) -> int:
        """Return the bits of one index of a support that is written as indices."""
        return max(1, math.ceil(math.log2(max(self.m or candidates, 2))))

    def metadata_bits(self, candidates: int, nonzeros: int) -> int:
        """Return the bits of one unit's support written as indices.

        There are n indices for each set of m atoms, otherwise one for each non-zero.

        Args:
            candidates: atoms that may be selected.
            nonzeros: atoms selected.
        """
        return (candidates // self.m * self.n if self.m else nonzeros) * self.field_bits(candidates)


FREE = Pattern()
