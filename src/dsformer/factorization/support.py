"""Support selection: which codes of every unit are kept, for all patterns of one spec."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.factorization.banks import BankedSupports
from dsformer.factorization.grouping import Grouping, group_energy
from dsformer.factorization.least_squares import LeastSquares
from dsformer.format.indices import implied_support
from dsformer.format.pattern import largest, n_of_m
from dsformer.format.spec import FormSpec


def choose_support(
    spec: FormSpec, codes: Float[Tensor, "units positions"], labels: Int[Tensor, " units"] | None
) -> Bool[Tensor, "units positions"]:
    """Select the core atoms and the largest of the other codes that the pattern allows.

    Args:
        spec: pattern, core atoms and number of non-zeros.
        codes: dense codes; their magnitudes are compared.
        labels: group of every unit, for grouped patterns; None: units have supports of their own.
    """
    scores = codes[:, spec.core :]
    if spec.pattern.bank:
        return BankedSupports(spec).select(scores)
    if spec.ragged:
        return choose_ragged_support(spec, scores.abs())
    if spec.blocks:
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, implied_support(spec, scores.device).long(), True)
    if labels is not None:
        chosen = largest(group_energy(scores.square(), labels, spec.pattern.group), spec.nonzeros)[labels]
    elif spec.pattern.m:
        chosen = n_of_m(scores.abs(), spec.pattern.n, spec.pattern.m)
    else:
        chosen = largest(scores.abs(), spec.nonzeros)
    core = torch.ones(len(codes), spec.core, dtype=torch.bool, device=codes.device)
    return torch.cat([core, chosen], 1)


def choose_ragged_support(
    spec: FormSpec, scores: Float[Tensor, "units candidates"]
) -> Bool[Tensor, "units candidates"]:
    """Select the largest codes of every stacked layer, with at most ``spec.nonzeros`` in each unit."""
    if spec.nonzeros < spec.candidates:
        # Codes beyond a unit's limit score less than all others: the largest overall are then the largest allowed.
        scores = torch.where(largest(scores, spec.nonzeros), scores, scores.new_full((), -1.0))
    layers = zip(scores.split([units for units, _ in spec.ragged]), spec.ragged, strict=True)
    return torch.cat([largest(rows.reshape(1, -1), entries).view_as(rows) for rows, (_, entries) in layers])


def labels_of(order: Int[Tensor, " units"], group: int) -> Int[Tensor, " units"] | None:
    """Return the group of every unit when neighbours in ``order`` share one; None where a group is a single unit."""
    if group == 1:
        return None
    labels = torch.empty_like(order)
    labels[order] = torch.arange(len(order), device=order.device) // group
    return labels


class Supports:
    """Support selection for codes that change; it keeps the groups between calls.

    Args:
        problem: least-squares problem, whose spans say which units may share a group.
        spec: shape of the form.
        labels: initial group of every unit; None: groups are made from the first codes.
    """

    def __init__(self, problem: LeastSquares, spec: FormSpec, labels: Int[Tensor, " units"] | None = None):
        self.spec = spec
        self.banked = BankedSupports(spec, problem.spans if spec.permuted else None) if spec.pattern.bank else None
        self.grouping = Grouping(problem.spans, spec.pattern.group) if spec.pattern.group > 1 else None
        if self.grouping is not None:
            self.grouping.labels = labels

    def select(self, codes: Float[Tensor, "units positions"], regroup: bool) -> Bool[Tensor, "units positions"]:
        """Select the support of these codes; with ``regroup``, improve the groups (or tiles) first."""
        if self.banked is not None:
            return self.banked.select(codes, regroup)
        if self.grouping is None:
            return choose_support(self.spec, codes, None)
        if regroup or self.grouping.labels is None:
            self.grouping.improve(codes[:, self.spec.core :].square(), self.spec.nonzeros)
        return choose_support(self.spec, codes, self.grouping.labels)

    def order(self, units: int) -> Int[Tensor, " units"]:
        """Return the units in the order that makes the units of a group, or of a tile, neighbours."""
        if self.banked is not None and self.banked.order is not None:
            return self.banked.order
        return torch.arange(units) if self.grouping is None else self.grouping.order()
