"""Divide a budget of bits between blocks: uniformly, or by a greedy knapsack on convex error curves."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

# No block gets less than this fraction of its uniform budget, nor more than this multiple.
LEAST_SHARE, LARGEST_SHARE = 0.5, 2.0
# Points at which a block's error curve is evaluated over its range of budgets.
STEPS = 96


@dataclass(frozen=True)
class Demand:
    """What allocation knows of one block.

    Attributes:
        shape: (out, in) of the stacked weight.
        spectrum: eigenvalues of its whitened second moment, descending; their tail beyond k is the squared error of
            rank k.
        importance: squared relative change of the model's output per squared relative error of the block.
        gain: forms reach the error of low rank at this multiple of the rank it has at the same bits.
    """

    shape: tuple[int, int]
    spectrum: Float[Tensor, " width"]
    importance: float = 1.0
    gain: float = 1.0

    @property
    def values(self) -> int:
        """Number of values of the dense weight."""
        return self.shape[0] * self.shape[1]

    def errors(self, ranks: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
        """Predict the squared relative error at (fractional) low-rank ranks of the same bits."""
        tail = 1 - self.spectrum.double().cumsum(0) / self.spectrum.double().sum()
        tail = torch.cat([torch.ones(1, dtype=tail.dtype), tail.clamp_min(0)])
        position = (self.gain * ranks.double()).clamp_max(len(self.spectrum))
        low = position.floor().long().clamp_max(len(self.spectrum) - 1)
        return tail[low] + (position - low) * (tail[low + 1] - tail[low])


def allocate_uniform(demands: Sequence[Demand], bits: int) -> list[int]:
    """Give every block the same compression ratio. Returns the bits of each."""
    total = sum(demand.values for demand in demands)
    return [bits * demand.values // total for demand in demands]


def allocate_balanced(demands: Sequence[Demand], bits: int, value_bits: float) -> list[int]:
    """Minimise the total predicted squared error: the next bits go where they lower it most per bit.

    The error curves are made convex first, for which the greedy choice is optimal.

    Args:
        demands: what is known of each block.
        bits: for all blocks together.
        value_bits: bits of a stored value, on average over both factors.

    Returns:
        The bits of each block.
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
    """Give the next bits to where they lower the error most, until none remain.

    Args:
        curves: for each receiver, a grid of bits and the error at each; made convex first, for which this is optimal.
        spent: bits that each has at the beginning, the first point of its grid.
        bits: for all together, ``spent`` included.
        portions: for each, the size of a step in bits; None: 1.

    Returns:
        The bits of each.
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
    """Return the corners of the lower convex hull after the first, each with the gain per bit of the step to it."""
    points = list(zip(bits.tolist(), errors.tolist(), strict=True))
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) >= (y - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((x, y))
    return [(int(x1), (y0 - y1) / max(x1 - x0, 1e-9)) for (x0, y0), (x1, y1) in pairwise(hull)]
