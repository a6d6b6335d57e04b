"""Rows of stacked layers that may change places: what a permutation may do."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RowSpan:
    """Neighbouring units that may change places, and what has to move with them.

    Attributes:
        starts: first unit of every range that is ordered alike (the dimensions of a head in queries and in keys).
        size: units in each.
    """

    starts: tuple[int, ...]
    size: int


def stack_spans(members: Sequence[int]) -> tuple[RowSpan, ...]:
    """The spans of layers that lie one after another, each with an order of its own."""
    starts = [sum(members[:i]) for i in range(len(members))]
    return tuple(RowSpan((start,), units) for start, units in zip(starts, members, strict=True))
