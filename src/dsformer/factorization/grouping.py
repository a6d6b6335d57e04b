"""Clusters of units that want the same support, for the grouped pattern."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.factorization.pattern import largest


class Grouping:
    """Assignment of units to groups of equal size, improved whenever the scores change.

    Args:
        members: numbers of units of the stacked layers; a group never spans two of them.
        size: units in a group.
    """

    def __init__(self, members: tuple[int, ...], size: int):
        self.size = size
        self.members = members
        self.labels: Int[Tensor, " units"] | None = None

    def supports(self, energy: Float[Tensor, "units candidates"], count: int) -> Bool[Tensor, "groups candidates"]:
        """The ``count`` candidates with most energy summed over each group, for the present assignment."""
        assert self.labels is not None
        total = torch.zeros(len(energy) // self.size, energy.shape[1]).index_add_(0, self.labels, energy)
        return largest(total, count)

    def improve(self, energy: Float[Tensor, "units candidates"], count: int) -> None:
        """Reassign units to the groups whose supports keep most of their energy; kept only where the total grows."""
        if self.labels is None:
            self.labels = self._per_member(energy, self._similar)
        before = self.supports(energy, count)
        gain = energy @ before.float().T
        labels = self._per_member(gain, self._balanced)
        kept, self.labels = self.labels, labels
        after = self.supports(energy, count)
        if (energy * after[labels]).sum() <= (energy * before[kept]).sum():
            self.labels = kept

    def order(self) -> Int[Tensor, " units"]:
        """Units sorted by group: the permutation that makes groups neighbours."""
        assert self.labels is not None
        return torch.argsort(self.labels, stable=True)

    def _per_member(self, scores: Float[Tensor, "units width"], assign) -> Int[Tensor, " units"]:
        labels, start = [], 0
        for units in self.members:
            first, count = start // self.size, units // self.size
            labels.append(first + assign(scores[start : start + units], first, count))
            start += units
        return torch.cat(labels)

    def _similar(self, energy: Float[Tensor, "units candidates"], first: int, count: int) -> Int[Tensor, " units"]:
        """Greedy start: a unit and the ones most like it."""
        unit = torch.nn.functional.normalize(energy, dim=1)
        likeness = unit @ unit.T
        labels = torch.full((len(energy),), -1)
        for group in range(count):
            seed = int((labels < 0).nonzero()[0])
            score = likeness[seed].masked_fill(labels >= 0, -1.0)
            score[seed] = 2.0
            labels[score.topk(self.size).indices] = group
        return labels

    def _balanced(self, gain: Float[Tensor, "units groups"], first: int, count: int) -> Int[Tensor, " units"]:
        return torch.from_numpy(deferred_acceptance(gain[:, first : first + count].numpy(), self.size))


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
