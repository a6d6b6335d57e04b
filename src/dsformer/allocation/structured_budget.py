"""Structured pruning budget: divide bits between channels, and say how many each writer and its reader keep."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.allocation.budgets import spend

# No writer keeps less than this fraction of the channels that it would keep at the same ratio everywhere. Errors of
# different blocks add up for small changes, which says little about large ones.
LEAST_SHARE = 0.25


@dataclass(frozen=True)
class ChannelValue:
    """What allocation knows of the channels between a writer and a reader.

    Attributes:
        errors: squared relative error of the reader by the number of channels removed, from none to all but one.
        bits: bits that a channel takes in both.
        importance: squared relative change of the model's output per squared relative error of the reader.
    """

    errors: Float[Tensor, " counts"]
    bits: int
    importance: float = 1.0

    @property
    def count(self) -> int:
        """Number of channels before pruning."""
        return len(self.errors)


def allocate_channels(worths: Sequence[ChannelValue], bits: int) -> list[int] | None:
    """Choose how many channels remain of each, at the least total error; None where not even the fewest fit."""
    share = bits / sum(worth.bits * worth.count for worth in worths)
    least = [min(worth.count, max(1, int(LEAST_SHARE * share * worth.count))) for worth in worths]
    spent = [worth.bits * count for worth, count in zip(worths, least, strict=True)]
    if sum(spent) > bits:
        return None
    curves = []
    for worth, few in zip(worths, least, strict=True):
        counts = torch.arange(few, worth.count + 1, dtype=torch.float64)
        curves.append((counts * worth.bits, worth.importance * worth.errors.flip(0)[few - 1 :]))
    portions = [worth.bits for worth in worths]
    return [given // one for given, one in zip(spend(curves, spent, bits, portions), portions, strict=True)]
