"""Adam's moments of the codes, carried over when the support changes."""

import torch
from jaxtyping import Int
from torch import Tensor

from dsformer.training.parametrization import LearnedBlock


@torch.no_grad()
def carry_optimizer_state(
    optimizer: torch.optim.Optimizer, block: LearnedBlock, before: Int[Tensor, "units kept"]
) -> None:
    """Move Adam's moments of a block's values from its old support to the present one.

    Values that stay keep both moments. New values start with a first moment of zero and the mean second moment of their
    unit. With a second moment of zero their first steps would be many times too long (STEP, arXiv 2302.01172: second
    moments that mix values on and off the support mislead Adam).

    Args:
        optimizer: changed in place.
        block: on its present support.
        before: its ``columns`` before the change.
    """
    state = optimizer.state.get(block.values)
    if not state:
        return
    spec = block.spec
    shape = (spec.units, spec.core + spec.candidates)
    present, there = block.columns.long(), block.there()
    stayed = (
        torch.zeros(shape, dtype=torch.bool, device=present.device).scatter_(1, before.long(), True).gather(1, present)
    )
    for name in ("exp_avg", "exp_avg_sq"):
        if name not in state:
            continue
        moment = state[name]
        moved = moment.new_zeros(shape).scatter_(1, before.long(), moment).gather(1, present)
        if name == "exp_avg_sq":
            moved = torch.where(stayed, moved, moment.mean(1, keepdim=True))
        if there is not None:
            moved = moved * there
        state[name] = moved
