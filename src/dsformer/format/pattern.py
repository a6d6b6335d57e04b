"""Sparsity patterns of the codes: free, grouped, n:m, banked."""

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.errors import InputError
from dsformer_runtime.artefact.banked import LARGEST_BANK, STEP

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
    def parse(cls, text: str) -> "Pattern":
        """Parse ``free``, ``grouped(8)``, ``2:4`` or ``banked(64)``.

        Raises:
            InputError: the text is none of these.
        """
        if text == "free":
            return cls()
        if (match := re.fullmatch(rf"grouped\({_COUNT}\)", text)) and 2 <= int(match[1]) <= LARGEST:
            return cls(group=int(match[1]))
        if (match := re.fullmatch(f"{_COUNT}:{_COUNT}", text)) and 1 <= int(match[1]) < int(match[2]) <= LARGEST:
            return cls(n=int(match[1]), m=int(match[2]))
        if (match := re.fullmatch(rf"banked\({_COUNT}\)", text)) and int(match[1]) in BANKS:
            return cls(bank=int(match[1]))
        raise InputError(
            f"pattern: {text[:40]!r} is not one of free, grouped(g) with g from 2 to {LARGEST}, n:m with 1 <= n < m, "
            f"banked(b) with b a multiple of {STEP} up to {LARGEST_BANK}"
        )

    def __str__(self) -> str:
        if self.m:
            return f"{self.n}:{self.m}"
        if self.bank:
            return f"banked({self.bank})"
        return f"grouped({self.group})" if self.group > 1 else "free"

    def metadata_bits(self, candidates: int, nonzeros: int) -> int:
        """Return the bits of one unit's support written as indices.

        There are n indices for each set of m atoms, otherwise one for each non-zero.

        Args:
            candidates: atoms that may be selected.
            nonzeros: atoms selected.
        """
        if self.m:
            return candidates // self.m * self.n * math.ceil(math.log2(self.m))
        return nonzeros * max(1, math.ceil(math.log2(max(candidates, 2))))


FREE = Pattern()


def largest(scores: Float[Tensor, "units candidates"], count: int) -> Bool[Tensor, "units candidates"]:
    """Return a mask of exactly the ``count`` largest entries of every row.

    Args:
        scores: what is compared.
        count: true entries of a row.
    """
    rows, width = scores.shape
    if not 0 < count < width:
        return torch.full((rows, width), count > 0, dtype=torch.bool, device=scores.device)
    # On CPU, NumPy's vectorised partition of values is many times faster than any selection of indices.
    table = scores.cpu().numpy()
    threshold = np.partition(table, width - count, axis=1)[:, width - count]
    mask = table >= threshold[:, None]
    tied = np.flatnonzero(np.count_nonzero(mask, axis=1) != count)
    if len(tied):
        mask[tied] = False
        index = np.argpartition(table[tied], width - count, axis=1)[:, width - count :]
        mask[tied[:, None], index] = True
    return torch.from_numpy(mask).to(scores.device)


def n_of_m(scores: Float[Tensor, "units candidates"], n: int, m: int) -> Bool[Tensor, "units candidates"]:
    """Return a mask of the ``n`` largest of every set of ``m`` atoms.

    Set j holds the atoms j, j + q, j + 2q, ... with q = candidates / m. Sets are taken by stride because SVD atoms are
    sorted by energy: neighbours have about the same energy and would compete.

    Args:
        scores: what is compared.
        n: true entries of a set.
        m: atoms of a set.
    """
    units, width = scores.shape
    strided = scores.reshape(units, m, width // m).transpose(1, 2)
    mask = largest(strided.reshape(-1, m), n).reshape(units, width // m, m)
    return mask.transpose(1, 2).reshape(units, width)
