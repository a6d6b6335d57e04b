"""Divide a budget of bits between the channels of a model: which writers and readers keep how many."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.allocation.budgets import hull_steps

# No writer keeps less than this share of what it would with the same ratio everywhere: errors that add up for small
# changes say little of large ones.
LEAST_SHARE = 0.25


@dataclass(frozen=True)
class Worth:
    """What allocation knows of the channels between a writer and a reader.

    Attributes:
        errors: squared relative error of the reader by number of channels gone, from none to all but one.
        bits: that a channel takes in both.
        importance: what a unit of squared relative error costs.
    """

    errors: Float[Tensor, " counts"]
    bits: int
    importance: float = 1.0

    @property
    def count(self) -> int:
        return len(self.errors)


def kept_counts(worths: Sequence[Worth], bits: int) -> list[int] | None:
    """How many channels stay, at the least total error; None where not even the fewest fit.

    The error curves are made convex first, for which greedy is optimal.
    """
    share = bits / sum(worth.bits * worth.count for worth in worths)
    least = [min(worth.count, max(1, int(LEAST_SHARE * share * worth.count))) for worth in worths]
    kept = list(least)
    left = bits - sum(worth.bits * count for worth, count in zip(worths, kept, strict=True))
    if left < 0:
        return None
    queue: list[tuple[float, int, int, int]] = []
    for i, worth in enumerate(worths):
        counts = torch.arange(least[i], worth.count + 1, dtype=torch.float64)
        errors = worth.importance * worth.errors.flip(0)[least[i] - 1 :]
        steps = hull_steps(counts * worth.bits, errors)
        queue += [(-gain, i, at, round(to / worth.bits)) for at, (to, gain) in enumerate(steps)]
    heapq.heapify(queue)
    while queue:
        _, i, _, to = heapq.heappop(queue)
        step = min(to - kept[i], left // worths[i].bits)
        kept[i] += max(0, step)
        left -= max(0, step) * worths[i].bits
    return kept
