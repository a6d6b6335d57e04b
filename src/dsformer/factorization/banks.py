"""Selection of banked supports: how many codes every tile of rows gets in every bank, and which ones.

The energy that a tile keeps grows with every step of four codes in each of its rows, by less and less, and so do the
bits: values, and ranks of the selections. At a price of a bit in energy, every tile and bank has the number of steps of
largest energy minus price; the price is found at which the bits of all fit (Lagrangian relaxation; Shoham and Gersho,
1988). Within their counts rows select their largest codes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from dsformer.format.pattern import FREE, Pattern
from dsformer.format.row_spans import RowSpan
from dsformer.format.spec import FormSpec
from dsformer_runtime.artefact.banked import STEP, Banks

# Halvings of the interval that holds the price, in its logarithm.
HALVINGS = 30
# Factor between the lowest price tried, at which everything that fits is selected, and the highest.
PRICES = 1e12
# Rounds in which what is left is spent on single steps.
FILLS = 3
# Where a spec does not say the bits of a value: those at which supports are weighed, and those for which entries that
# are not used make room in supports. Entries do not grow, so that codes with more bits a value take no more bytes.
PRICED, LEAST_BITS = 16, 4


def with_room(spec: FormSpec, pattern: Pattern, bits: int, members: Sequence[int]) -> FormSpec:
    """Return a banked spec whose code values and supports together take up to a number of bits.

    Every layer has a share of the bits, and entries with evenly spread supports; a fit may trade one for the other.

    Args:
        spec: orientation, atoms and bits of a value.
        pattern: the banked pattern.
        bits: room for the code values and their supports.
        members: units of every stacked layer.
    """
    blank, value_bits = replace(spec, ragged=(), support_bits=(), pattern=FREE, nonzeros=0), spec.value_bits or PRICED
    ragged, supports = [], []
    for units in members:
        layer = blank.banks((units,), pattern.bank)
        room = bits * units // sum(members) - layer.counting_bits
        entries = _even_entries(layer, room, value_bits)
        support = min(layer.most_bits, max(0, room - entries * value_bits) + layer.counting_bits)
        ragged.append((units, entries))
        supports.append(support)
    return replace(
        blank, pattern=pattern, nonzeros=blank.candidates, ragged=tuple(ragged), support_bits=tuple(supports)
    )


def suit_banked(spec: FormSpec, members: Sequence[int], even: bool) -> FormSpec:
    """Return a banked spec whose tiles are those of stacked layers.

    Args:
        spec: of the stack, as one layer.
        members: output features of every layer.
        even: units that are rows have about as many codes each.
    """
    room = spec.code_count * (spec.value_bits or PRICED) + sum(spec.support_bits)
    suited = with_room(spec, spec.pattern, room, members if spec.orientation == "input" else [spec.units])
    if not even or spec.orientation == "output":
        return suited
    return replace(suited, nonzeros=min(suited.candidates, -(-suited.code_count // suited.units // STEP) * STEP))


def _even_entries(layer: Banks, room: int, value_bits: int) -> int:
    """Return the number of entries that fit where all rows and banks have as many."""
    most, widest = int(layer.tiles.sum()) * int(layer.banks.sum()), layer.bits[layer.banks.argmax()]
    steps = np.flatnonzero(widest >= 0)
    cells = most / layer.banks.max()
    entries = cells * STEP * np.arange(0, steps[-1] + 1 / 64, 1 / 64)
    bits = entries * value_bits + cells * np.interp(entries / cells / STEP, steps, widest[steps])
    found = int(entries[bits <= max(room, 0)][-1])
    # What supports cannot take up is for more entries.
    left = room - found * value_bits - (layer.most_bits - layer.counting_bits)
    return min(most, found + max(0, left) // value_bits)


class BankedSupports:
    """Selection of banked supports for codes that change; it keeps the order of rows between calls.

    Args:
        spec: shape of the form; its entries and bits of supports are limits of all layers together.
        spans: spans of units whose order costs nothing; None: units stay where they are.
    """

    def __init__(self, spec: FormSpec, spans: Sequence[RowSpan] | None = None):
        self.spec, self.spans = spec, spans
        self.banks = spec.banks(tuple(units for units, _ in spec.ragged), spec.pattern.bank)
        self.order: Int[Tensor, " units"] | None = None

    def select(
        self, scores: Float[Tensor, "units candidates"], reorder: bool = False
    ) -> Bool[Tensor, "units candidates"]:
        """Select the supports that keep most energy.

        Args:
            scores: magnitudes of the codes, units in the order of the weight.
            reorder: whether units may go into other tiles.
        """
        energy = scores.detach().cpu().float().square()
        if self.spans is not None and (reorder or self.order is None):
            self.order = _by_entries(energy, self.spec.code_count, self.spans)
        ordered = energy if self.order is None else energy[self.order]
        mask = self._in_order(ordered if self.spec.orientation == "input" else ordered.T)
        mask = mask if self.spec.orientation == "input" else mask.T
        if self.order is not None:
            mask = torch.empty_like(mask).index_copy_(0, self.order, mask)
        return mask.to(scores.device)

    def _in_order(self, energy: Float[Tensor, "rows columns"]) -> Bool[Tensor, "rows columns"]:
        banks = self.banks
        whole = banks.in_banks(energy.numpy(), -1.0)
        descending = -np.sort(-whole, axis=2)
        steps = np.maximum(descending, 0).reshape(*descending.shape[:2], banks.bank // STEP, STEP).sum(3)
        starts = np.cumsum(banks.tiles) - banks.tiles
        kept = np.add.reduceat(steps, starts, axis=0).cumsum(axis=2, dtype=np.float64)
        counts = self._counts(np.concatenate([np.zeros_like(kept[:, :, :1]), kept], axis=2))
        each = np.repeat(counts, banks.tiles, axis=0)
        return torch.from_numpy(banks.from_banks(_largest_of_each(whole, descending, each)))

    def _counts(self, kept: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return how many columns every tile selects from every bank.

        Args:
            kept: (tiles, banks, steps) energy that a tile keeps with each number of steps of four columns.
        """
        banks, price = self.banks, self.spec.value_bits or PRICED
        values = STEP * price * np.arange(kept.shape[2], dtype=np.float64)
        each: NDArray[np.float64] = np.where(banks.bits >= 0, values + banks.bits, np.inf)
        cost = each * banks.tiles[:, None, None].astype(np.float64)
        highest = kept.max() / (price * STEP) + 1e-30
        prices = highest / PRICES * np.ones((len(kept), 1, 1))
        if self._limits_rows:
            prices = _least_prices(kept, cost, prices, self.spec.nonzeros)
        low, high, best = 0.0, 1.0, np.zeros(kept.shape[:2], dtype=np.int64)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            counts = STEP * (kept - np.maximum(prices, highest * PRICES ** (middle - 1)) * cost).argmax(axis=2)
            if self._fits(counts):
                high, best = middle, counts
            else:
                low = middle
        return self._filled(best, kept, cost)

    def _filled(
        self, counts: NDArray[np.int64], kept: NDArray[np.float64], cost: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Spend what is left on single steps: the best by price may be several at once, too many to fit."""
        if self._limits_rows:
            return counts
        gains = np.pad(np.diff(kept, axis=2), ((0, 0), (0, 0), (0, 1)))
        with np.errstate(invalid="ignore"):
            costs = np.pad(np.diff(cost, axis=2), ((0, 0), (0, 0), (0, 1)), constant_values=np.inf)
        for _ in range(FILLS):
            steps = (counts // STEP)[:, :, None]
            gain, price = (np.take_along_axis(each, steps, 2)[:, :, 0].ravel() for each in (gains, costs))
            order = np.argsort(-gain / np.maximum(price, 1), kind="stable")
            order = order[np.isfinite(price[order]) & (gain[order] > 0)]
            low, high = 0, len(order)
            while low < high:
                middle = (low + high + 1) // 2
                more = counts.copy()
                more.ravel()[order[:middle]] += STEP
                low, high = (middle, high) if self._fits(more) else (low, middle - 1)
            if not low:
                break
            counts = counts.copy()
            counts.ravel()[order[:low]] += STEP
        return counts

    @property
    def _limits_rows(self) -> bool:
        """Whether a row may have fewer codes than there are candidates."""
        return self.spec.orientation == "input" and self.spec.nonzeros < self.spec.candidates

    def _fits(self, counts: NDArray[np.int64]) -> bool:
        """Return whether entries and supports take no more bits than the spec says."""
        spec = self.spec
        entries, bits = self.banks.total_entries(counts), self.banks.total_bits(counts)
        if spec.value_bits:
            return entries * spec.value_bits + bits <= spec.code_count * spec.value_bits + sum(spec.support_bits)
        room = LEAST_BITS * spec.code_count + sum(spec.support_bits)
        return entries <= spec.code_count and LEAST_BITS * entries + bits <= room


def _least_prices(
    kept: NDArray[np.float64], cost: NDArray[np.float64], prices: NDArray[np.float64], most: int
) -> NDArray[np.float64]:
    """Return the price of every tile from which on its rows select at most ``most`` columns each."""
    low, high = prices, prices * PRICES
    for _ in range(HALVINGS):
        middle = np.sqrt(low * high)
        fits = STEP * (kept - middle * cost).argmax(axis=2).sum(axis=1) <= most
        low, high = np.where(fits[:, None, None], low, middle), np.where(fits[:, None, None], middle, high)
    return high


def _largest_of_each(
    whole: NDArray[np.float32], descending: NDArray[np.float32], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return a mask of the largest numbers of every row and bank.

    Args:
        whole: (rows, banks, bank) numbers.
        descending: the same, sorted.
        counts: (rows, banks), how many are taken.
    """
    last = np.take_along_axis(descending, np.maximum(counts - 1, 0)[:, :, None], 2)
    mask = (whole >= last) & (counts > 0)[:, :, None]
    tied = np.nonzero(np.count_nonzero(mask, axis=2) != counts)
    if len(tied[0]):
        order = np.argsort(-whole[tied], axis=1, kind="stable")
        first = np.arange(whole.shape[2]) < counts[tied][:, None]
        exact = np.empty_like(first)
        np.put_along_axis(exact, order, first, 1)
        mask[tied] = exact
    return mask


def _by_entries(
    energy: Float[Tensor, "units candidates"], count: int, spans: Sequence[RowSpan]
) -> Int[Tensor, " units"]:
    """Return the units of every span sorted by the number of their codes among the ``count`` largest of all."""
    table = energy.numpy()
    place = max(0, table.size - count)
    threshold = np.partition(table, place, axis=None)[place]
    # Units with as many are sorted by energy.
    total = energy.sum(1)
    use = torch.from_numpy(np.count_nonzero(table >= threshold, axis=1)) + total / total.max().clamp_min(1e-30) / 2
    order = torch.empty(len(use), dtype=torch.long)
    for span in spans:
        together = torch.stack([use[start : start + span.size] for start in span.starts]).sum(0)
        own = together.argsort(descending=True, stable=True)
        for start in span.starts:
            order[start : start + span.size] = start + own
    return order
