"""Balanced clustering of units with similar supports, for the grouped pattern: stable matching (Gale and Shapley)."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.format.pattern import largest
from dsformer.format.row_spans import RowSpan
from dsformer.utils.matching import deferred_acceptance


class Grouping:
    """Assignment of units to groups of equal size, improved whenever the scores change.

    Args:
        spans: spans that together are all units. A group never reaches into another span. All ranges of a span are
            permuted in the same way, so they have the same groups.
        size: units in a group.
    """

    def __init__(self, spans: tuple[RowSpan, ...], size: int):
        self.size = size
        self.spans = spans
        self.labels: Int[Tensor, " units"] | None = None

    def supports(self, energy: Float[Tensor, "units candidates"], count: int) -> Bool[Tensor, "groups candidates"]:
        """Select the ``count`` candidates with the most energy summed over each group, for the present assignment."""
        assert self.labels is not None
        return largest(group_energy(energy, self.labels, self.size), count)

    def improve(self, energy: Float[Tensor, "units candidates"], count: int) -> None:
        """Reassign units to the groups whose supports keep most of their energy.

        The first call makes the groups. Later changes are kept only where the energy kept by all groups grows.

        Args:
            energy: squared codes.
            count: candidates selected for each group.
        """
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
        """Return the units sorted by group: the permutation that makes the units of a group neighbours."""
        assert self.labels is not None
        return torch.argsort(self.labels, stable=True)

    def _per_span(
        self,
        scores: Float[Tensor, "units width"],
        assign: Callable[[Sequence[Float[Tensor, "size width"]], Sequence[int]], Int[Tensor, " size"]],
    ) -> Int[Tensor, " units"]:
        """Assign the units of each span separately, and all of its ranges in the same way."""
        labels = torch.empty(len(scores), dtype=torch.long)
        for span in self.spans:
            first = [start // self.size for start in span.starts]
            own = assign([scores[start : start + span.size] for start in span.starts], first)
            for start, group in zip(span.starts, first, strict=True):
                labels[start : start + span.size] = group + own
        return labels

    def _similar(self, energies: Sequence[Float[Tensor, "size candidates"]], _: Sequence[int]) -> Int[Tensor, " size"]:
        """Make groups greedily: each has the first unit without a group, and the units most similar to it."""
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
        """Assign units to groups of equal size by stable matching.

        ``gains`` are the energies of the units that each group's support keeps.
        """
        count = len(gains[0]) // self.size
        gain = torch.stack([one[:, group : group + count] for one, group in zip(gains, first, strict=True)]).sum(0)
        return torch.from_numpy(deferred_acceptance(gain.numpy(), self.size))


def group_energy(
    energy: Float[Tensor, "units candidates"], labels: Int[Tensor, " units"], size: int
) -> Float[Tensor, "groups candidates"]:
    """Sum the energy over the units of every group.

    Args:
        energy: squared codes.
        labels: group of every unit.
        size: units in a group.
    """
    return energy.new_zeros(len(energy) // size, energy.shape[1]).index_add_(0, labels, energy)
