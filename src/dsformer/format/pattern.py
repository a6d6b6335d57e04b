"""Patterns: how the support of the codes is constrained (free, grouped, n:m)."""

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.errors import InputError

# Rows that can share a support, and atoms out of which n are on.
LARGEST = 2**16
_COUNT = "([0-9]{1,9})"


@dataclass(frozen=True)
class Pattern:
    """A constraint on supports.

    ``group`` neighbouring units share one support (1: none do). ``n`` of every ``m`` atoms are on, atoms taken by
    stride (``m == 0``: any may be). The two are exclusive.
    """

    group: int = 1
    n: int = 0
    m: int = 0

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read ``free``, ``grouped(8)`` or ``2:4``. Raises InputError on anything else."""
        if text == "free":
            return cls()
        if (match := re.fullmatch(rf"grouped\({_COUNT}\)", text)) and 2 <= int(match[1]) <= LARGEST:
            return cls(group=int(match[1]))
        if (match := re.fullmatch(f"{_COUNT}:{_COUNT}", text)) and 1 <= int(match[1]) < int(match[2]) <= LARGEST:
            return cls(n=int(match[1]), m=int(match[2]))
        raise InputError(
            f"pattern: {text[:40]!r} is not one of free, grouped(g) with g from 2 to {LARGEST}, n:m with 1 <= n < m"
        )

    def __str__(self) -> str:
        if self.m:
            return f"{self.n}:{self.m}"
        return f"grouped({self.group})" if self.group > 1 else "free"

    def metadata_bits(self, candidates: int, nonzeros: int) -> int:
        """Bits of one unit's support written as positions: n per group of m, or one per non-zero."""
        if self.m:
            return candidates // self.m * self.n * math.ceil(math.log2(self.m))
        return nonzeros * max(1, math.ceil(math.log2(max(candidates, 2))))


FREE = Pattern()


def largest(scores: Float[Tensor, "units candidates"], count: int) -> Bool[Tensor, "units candidates"]:
    """Mask of exactly ``count`` largest entries of every row."""
    rows, width = scores.shape
    if not 0 < count < width:
        return torch.full((rows, width), count > 0, dtype=torch.bool, device=scores.device)
    # NumPy's vectorised partition of values is many times faster on CPU than any selection of indices.
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
    """Mask of the ``n`` largest of every ``m`` atoms; group j holds atoms j, j + q, j + 2q, ..., q = candidates / m.

    Atoms are grouped by stride because SVD atoms are sorted by energy: neighbours would compete with equals.
    """
    units, width = scores.shape
    strided = scores.reshape(units, m, width // m).transpose(1, 2)
    mask = largest(strided.reshape(-1, m), n).reshape(units, width // m, m)
    return mask.transpose(1, 2).reshape(units, width)
