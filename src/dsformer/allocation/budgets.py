"""Divide a budget of bits between blocks."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

# No block gets less than this share of its uniform budget, nor more than this multiple.
LEAST_SHARE, LARGEST_SHARE = 0.5, 2.0
# Parts into which a block's range of budgets is cut.
STEPS = 96


@dataclass(frozen=True)
class Demand:
    """What allocation knows of one block.

    Attributes:
        shape: (out, in) of the stacked weight.
        spectrum: eigenvalues of its whitened second moment, descending; their tail beyond k is the squared error of
            rank k.
        importance: what a unit of squared relative error costs.
        gain: forms reach the error of low rank at this many times the rank it has at the same bits.
    """

    shape: tuple[int, int]
    spectrum: Float[Tensor, " width"]
    importance: float = 1.0
    gain: float = 1.0

    @property
    def values(self) -> int:
        return self.shape[0] * self.shape[1]

    def errors(self, ranks: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
        """Squared relative error predicted at (fractional) low-rank ranks of the same bits."""
        tail = 1 - self.spectrum.double().cumsum(0) / self.spectrum.double().sum()
        tail = torch.cat([torch.ones(1, dtype=tail.dtype), tail.clamp_min(0)])
        position = (self.gain * ranks.double()).clamp_max(len(self.spectrum))
        low = position.floor().long().clamp_max(len(self.spectrum) - 1)
        return tail[low] + (position - low) * (tail[low + 1] - tail[low])


def allocate_uniform(demands: Sequence[Demand], bits: int) -> list[int]:
    """The same ratio everywhere."""
    total = sum(demand.values for demand in demands)
    return [bits * demand.values // total for demand in demands]


def allocate_balanced(demands: Sequence[Demand], bits: int, value_bits: float) -> list[int]:
    """Least total predicted squared error: the next bits go where they lower it most per bit.

    The error curves are made convex first, for which greedy is optimal.
    """
    base = allocate_uniform(demands, bits)
    spent = [int(LEAST_SHARE * share) for share in base]
    curves = []
    for i, demand in enumerate(demands):
        top = min(LARGEST_SHARE * base[i], demand.values * value_bits)
        grid = torch.linspace(spent[i], top, STEPS, dtype=torch.float64)
        errors = demand.importance * demand.errors(grid / (value_bits * sum(demand.shape)))
        curves.append((grid, errors))
    return spend(curves, spent, bits)


def spend(
    curves: Sequence[tuple[Float[Tensor, " _steps"], Float[Tensor, " _steps"]]],
    spent: Sequence[int],
    bits: int,
    portions: Sequence[int] | None = None,
) -> list[int]:
    """Give the next bits to where they lower the error most, until none are left.

    Args:
        curves: for each of those who share, bits and the error with them; made convex first, for which this is optimal.
        spent: what each has to begin with.
        bits: for all.
        portions: bits are given in multiples of these; None: one by one.
    """
    given, left = list(spent), bits - sum(spent)
    portions = portions or [1] * len(given)
    queue = [(-gain, i, at, to) for i, one in enumerate(curves) for at, (to, gain) in enumerate(_hull_steps(*one))]
    heapq.heapify(queue)
    while queue and left > 0:
        _, i, _, to = heapq.heappop(queue)
        step = max(0, min(left // portions[i] * portions[i], to - given[i]))
        given[i] += step
        left -= step
    return given


def _hull_steps(bits: Tensor, errors: Tensor) -> list[tuple[int, float]]:
    """Corners of the lower convex hull after the first, each with the gain per bit of the step that leads there."""
    points = list(zip(bits.tolist(), errors.tolist(), strict=True))
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) >= (y - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((x, y))
    return [(int(x1), (y0 - y1) / max(x1 - x0, 1e-9)) for (x0, y0), (x1, y1) in pairwise(hull)]
