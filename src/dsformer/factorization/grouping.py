"""Clusters of units that want the same support, for the grouped pattern."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.format.pattern import largest


@dataclass(frozen=True)
class Span:
    """Neighbouring units that may change places, and what has to move with them.

    Attributes:
        starts: first unit of every range that is ordered alike (the dimensions of a head in queries and in keys).
        size: units in each.
    """

    starts: tuple[int, ...]
    size: int


def stacked(members: Sequence[int]) -> tuple[Span, ...]:
    """The spans of layers that lie one after another, each with an order of its own."""
    starts = [sum(members[:i]) for i in range(len(members))]
    return tuple(Span((start,), units) for start, units in zip(starts, members, strict=True))


class Grouping:
    """Assignment of units to groups of equal size, improved whenever the scores change.

    Args:
        spans: all units; a group never reaches into another span, and groups of ranges ordered alike are alike.
        size: units in a group.
    """

    def __init__(self, spans: tuple[Span, ...], size: int):
        self.size = size
        self.spans = spans
        self.labels: Int[Tensor, " units"] | None = None

    def supports(self, energy: Float[Tensor, "units candidates"], count: int) -> Bool[Tensor, "groups candidates"]:
        """The ``count`` candidates with most energy summed over each group, for the present assignment."""
        assert self.labels is not None
        return largest(group_energy(energy, self.labels, self.size), count)

    def improve(self, energy: Float[Tensor, "units candidates"], count: int) -> None:
        """Reassign units to the groups whose supports keep most of their energy; kept only where the total grows."""
        if self.labels is None:
            self.labels = self._per_span(energy, self._similar)
        before = self.supports(energy, count)
        gain = energy @ before.float().T
        labels = self._per_span(gain, self._balanced)
        kept, self.labels = self.labels, labels
        after = self.supports(energy, count)
        if (energy * after[labels]).sum() <= (energy * before[kept]).sum():
            self.labels = kept

    def order(self) -> Int[Tensor, " units"]:
        """Units sorted by group: the permutation that makes groups neighbours."""
        assert self.labels is not None
        return torch.argsort(self.labels, stable=True)

    def _per_span(
        self,
        scores: Float[Tensor, "units width"],
        assign: Callable[[Sequence[Float[Tensor, "size width"]], Sequence[int]], Int[Tensor, " size"]],
    ) -> Int[Tensor, " units"]:
        labels = torch.empty(len(scores), dtype=torch.long)
        for span in self.spans:
            first = [start // self.size for start in span.starts]
            own = assign([scores[start : start + span.size] for start in span.starts], first)
            for start, group in zip(span.starts, first, strict=True):
                labels[start : start + span.size] = group + own
        return labels

    def _similar(self, energies: Sequence[Float[Tensor, "size candidates"]], _: Sequence[int]) -> Int[Tensor, " size"]:
        """Greedy start: a unit and the ones most like it."""
        units = [torch.nn.functional.normalize(energy, dim=1) for energy in energies]
        likeness = torch.stack([unit @ unit.T for unit in units]).mean(0)
        labels = torch.full((len(likeness),), -1)
        for group in range(len(likeness) // self.size):
            seed = int((labels < 0).nonzero()[0])
            score = likeness[seed].masked_fill(labels >= 0, -1.0)
            score[seed] = 2.0
            labels[score.topk(self.size).indices] = group
        return labels

    def _balanced(self, gains: Sequence[Float[Tensor, "size groups"]], first: Sequence[int]) -> Int[Tensor, " size"]:
        count = len(gains[0]) // self.size
        gain = torch.stack([one[:, group : group + count] for one, group in zip(gains, first, strict=True)]).sum(0)
        return torch.from_numpy(deferred_acceptance(gain.numpy(), self.size))


def group_energy(
    energy: Float[Tensor, "units candidates"], labels: Int[Tensor, " units"], size: int
) -> Float[Tensor, "groups candidates"]:
    """Energy summed over the units of every group."""
    return energy.new_zeros(len(energy) // size, energy.shape[1]).index_add_(0, labels, energy)


def deferred_acceptance(gain: np.ndarray, capacity: int) -> np.ndarray:
    """Stable assignment of units to groups of ``capacity``: units propose in order of gain, groups keep the best.

    Gale and Shapley (1962), all free units proposing at once. gain: (units, groups), units = groups * capacity.
    Returns the group of every unit.
    """
    units, groups = gain.shape
    preference = np.argsort(-gain, axis=1)
    proposals = np.zeros(units, dtype=np.int64)
    labels = preference[:, 0].copy()
    rows = np.arange(units)
    while True:
        order = np.lexsort((-gain[rows, labels], labels))
        starts = np.searchsorted(labels[order], np.arange(groups))
        rank = np.empty(units, dtype=np.int64)
        rank[order] = rows - starts[labels[order]]
        rejected = np.flatnonzero(rank >= capacity)
        if len(rejected) == 0:
            return labels
        proposals[rejected] += 1
        labels[rejected] = preference[rejected, proposals[rejected]]
