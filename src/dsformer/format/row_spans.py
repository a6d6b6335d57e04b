"""Row permutations that stacked layers allow."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RowSpan:
    """Neighbouring units that may be permuted, and the units that have to move with them.

    Attributes:
        starts: first unit of every range that gets the same order, as the dimensions of a head in queries and in keys
            do.
        size: units in each range.
    """

    starts: tuple[int, ...]
    size: int


def stack_spans(members: Sequence[int]) -> tuple[RowSpan, ...]:
    """Return the spans of stacked layers, each of which is permuted separately."""
    starts = [sum(members[:i]) for i in range(len(members))]
    return tuple(RowSpan((start,), units) for start, units in zip(starts, members, strict=True))
