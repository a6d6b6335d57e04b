"""Supports of banked codes as bytes: how many codes every tile has in every bank, then which ones every row has.

The *rows* here are those of the sparse factor as it multiplies: units of an input dictionary, positions of an output
one. The *columns* are what a row selects from: candidates of an input dictionary, units of an output one. Rows are
divided into tiles of 16 and columns into banks. All rows of a tile select as many columns of a bank, a multiple of
four. Rows and columns come in sections (stacked layers; learned atoms and unit vectors), into which neither tiles nor
banks straddle: the last tile and the last bank of a section may be shorter. A short bank has at most the largest
multiple of four columns selected that it holds.

The bytes are one bit stream, least significant bit first in every byte, padded with zeros to a whole byte at its end:

1. For every tile, for every bank of b columns: the number of columns selected, divided by four, as a field of
   ``bit_length(b // 4)`` bits (5 bits for a bank of 64).
2. For every row, for every bank, where c of b columns are selected: the selection's rank, as a field of
   ``ceil(log2(binomial(b, c)))`` bits (at most 61). The rank of the columns ``p_1 < p_2 < ... < p_c``, counted from the
   start of the bank, is ``sum_i binomial(p_i, i)`` (the combinatorial number system; Knuth, The Art of Computer
   Programming 4A, section 7.2.1.3).

This module needs NumPy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

TILE, STEP = 16, 4
"""Rows of a tile, and the number that counts are multiples of."""
LARGEST_BANK = 64

# binomial(p, i) for every position p in a bank and every number i of columns.
_BINOMIALS = np.array([[comb(p, i) for i in range(LARGEST_BANK + 1)] for p in range(LARGEST_BANK)], dtype=np.uint64)


@lru_cache
def rank_bits(size: int, count: int) -> int:
    """Return the bits of the rank of a selection of ``count`` out of ``size`` columns."""
    return (comb(size, count) - 1).bit_length()


@dataclass(frozen=True)
class Banks:
    """Tiles and banks of a sparse factor.

    Attributes:
        rows: sizes of the sections of rows.
        columns: sizes of the sections of columns.
        bank: columns of a bank, a multiple of four up to 64.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    bank: int = LARGEST_BANK

    @cached_property
    def tiles(self) -> NDArray[np.int64]:
        """Number of rows of every tile."""
        return _divided(self.rows, TILE)

    @cached_property
    def banks(self) -> NDArray[np.int64]:
        """Number of columns of every bank."""
        return _divided(self.columns, self.bank)

    @cached_property
    def bits(self) -> NDArray[np.int64]:
        """Bits of a rank for every bank and number of steps of four columns; -1 where a bank has not so many."""
        steps = range(self.bank // STEP + 1)
        return np.array([[rank_bits(b, STEP * k) if STEP * k <= b else -1 for k in steps] for b in self.banks.tolist()])

    @cached_property
    def count_bits(self) -> NDArray[np.int64]:
        """Bits of a count for every bank."""
        return np.array([(size // STEP).bit_length() for size in self.banks.tolist()], dtype=np.int64)

    @cached_property
    def counting_bits(self) -> int:
        """Bits of all counts together."""
        return len(self.tiles) * int(self.count_bits.sum())

    @cached_property
    def most_bits(self) -> int:
        """Largest number of bits that a support can have."""
        return self.counting_bits + int(self.tiles.sum()) * int(self.bits.max(axis=1).sum())

    def total_bits(self, counts: NDArray[np.int64]) -> int:
        """Return the bits of a support.

        Args:
            counts: (tiles, banks) numbers of columns that each row of a tile selects from a bank.
        """
        ranks = self.bits[np.arange(len(self.banks)), counts // STEP]
        return self.counting_bits + int((self.tiles[:, None] * ranks).sum())

    def total_entries(self, counts: NDArray[np.int64]) -> int:
        """Return the number of selected columns of all rows. Arguments as of :meth:`total_bits`."""
        return int((self.tiles[:, None] * counts).sum())

    def in_banks(self, matrix: NDArray, fill: float) -> NDArray:
        """Return a matrix (rows, columns) as (rows, banks, bank), where short banks are filled up with a number."""
        whole = np.full((len(matrix), len(self.banks), self.bank), fill, dtype=matrix.dtype)
        for position, (start, size) in enumerate(zip(_starts(self.banks), self.banks.tolist(), strict=True)):
            whole[:, position, :size] = matrix[:, start : start + size]
        return whole

    def from_banks(self, whole: NDArray) -> NDArray:
        """Return the matrix of which :meth:`in_banks` made ``whole``."""
        return np.concatenate([whole[:, j, :size] for j, size in enumerate(self.banks.tolist())], axis=1)

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the columns selected, by tile and bank.

        Args:
            mask: (rows, columns), true where a row selects a column.

        Raises:
            ValueError: rows of a tile differ, or a count is no multiple of four.
        """
        each = np.add.reduceat(mask, _starts(self.banks), axis=1, dtype=np.int64)
        first = each[_starts(self.tiles)]
        if (first % STEP).any() or not np.array_equal(np.repeat(first, self.tiles, axis=0), each):
            raise ValueError(f"support: not a multiple of {STEP} of every bank, the same in all rows of a tile")
        return first


def pack_banked(banks: Banks, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack a support to bytes.

    Args:
        banks: its tiles and banks.
        mask: (rows, columns), true where a row selects a column.

    Raises:
        ValueError: rows of a tile differ, or a count is no multiple of four.
    """
    counts = banks.counts(mask)
    whole = banks.in_banks(mask, False)
    chosen = np.cumsum(whole, axis=2, dtype=np.int64) * whole
    ranks = np.zeros(chosen.shape[:2], dtype=np.uint64)
    for position in range(banks.bank):
        # binomial(position, 0) is 1, but a column that is not selected adds nothing.
        ranks += _BINOMIALS[position][chosen[:, :, position]] * whole[:, :, position]
    widths = np.concatenate([np.tile(banks.count_bits, len(banks.tiles)), _rank_widths(banks, counts).reshape(-1)])
    return _pack_fields(np.concatenate([(counts // STEP).astype(np.uint64).reshape(-1), ranks.reshape(-1)]), widths)


def unpack_banked(banks: Banks, packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Unpack a support: true where a row selects a column, (rows, columns).

    Args:
        banks: its tiles and banks.
        packed: the bytes.

    Raises:
        ValueError: the bytes have a wrong length, a count is too large, a rank is out of range, or bits are set in the
            padding.
    """
    if 8 * len(packed) < banks.counting_bits:
        raise ValueError("support: too short")
    widths = np.tile(banks.count_bits, len(banks.tiles))
    steps = _unpack_fields(packed, widths, 0).astype(np.int64).reshape(len(banks.tiles), len(banks.banks))
    if (steps > banks.banks // STEP).any():
        raise ValueError("support: more columns selected than a bank has")
    total = banks.total_bits(STEP * steps)
    if len(packed) != (total + 7) // 8 or (total % 8 and packed[-1] >> total % 8):
        raise ValueError("support: not as long as its counts say, or bits are set beyond its end")
    widths = _rank_widths(banks, STEP * steps)
    ranks = _unpack_fields(packed, widths.reshape(-1), banks.counting_bits).reshape(widths.shape)
    left = np.repeat(STEP * steps, banks.tiles, axis=0)
    return banks.from_banks(_from_ranks(banks, ranks, left))


def _from_ranks(banks: Banks, ranks: NDArray[np.uint64], left: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the selections of given ranks, (rows, banks, bank). ``left`` counts the columns of each."""
    whole = np.zeros((*ranks.shape, banks.bank), dtype=np.bool_)
    for position in reversed(range(banks.bank)):
        below = _BINOMIALS[position][left]
        # Columns beyond the end of a short bank have no binomial to compare with.
        taken = (left > 0) & (ranks >= below) & (position < banks.banks)
        whole[:, :, position] = taken
        ranks, left = ranks - below * taken, left - taken
    if ranks.any() or left.any():
        raise ValueError("support: a rank is out of range")
    return whole


def _rank_widths(banks: Banks, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits of every rank, (rows, banks)."""
    return np.repeat(banks.bits[np.arange(len(banks.banks)), counts // STEP], banks.tiles, axis=0)


def _pack_fields(values: NDArray[np.uint64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pack integers of different widths, at most 63 bits each, to bytes."""
    ends = np.cumsum(widths)
    total = int(ends[-1])
    there = widths > 0
    starts, values, widths = (ends - widths)[there], values[there], widths[there]
    words, shifts = np.divmod(starts, 64)
    stream = np.zeros(total // 64 + 2, dtype="<u8")
    heads = np.flatnonzero(np.diff(words, prepend=-1))
    if len(heads):
        stream[words[heads]] = np.bitwise_or.reduceat(values << shifts.astype(np.uint64), heads)
    over = shifts + widths > 64  # at most one field reaches over the end of a word
    stream[words[over] + 1] |= values[over] >> (64 - shifts[over]).astype(np.uint64)
    return stream.view(np.uint8)[: (total + 7) // 8].copy()


def _unpack_fields(packed: NDArray[np.uint8], widths: NDArray[np.int64], start: int) -> NDArray[np.uint64]:
    """Unpack what :func:`_pack_fields` packed, from a bit on."""
    stream = np.zeros(len(packed) // 8 + 2, dtype="<u8")
    stream.view(np.uint8)[: len(packed)] = packed
    words, shifts = np.divmod(start + np.cumsum(widths) - widths, 64)
    low = stream[words] >> shifts.astype(np.uint64)
    # A shift by 64 bits has no defined result: it is done in two steps.
    high = (stream[words + 1] << (63 - shifts).astype(np.uint64)) << np.uint64(1)
    return (low | high) & ((np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1))


def _divided(sections: Sequence[int], size: int) -> NDArray[np.int64]:
    """Divide sections into parts of a size, the last of each as large as what is left."""
    parts = [min(size, section - start) for section in sections for start in range(0, section, size)]
    return np.array(parts, dtype=np.int64)


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(sizes) - sizes
