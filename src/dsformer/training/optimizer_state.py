"""What Adam remembers of the values, carried over when the support changes."""

import torch
from jaxtyping import Int
from torch import Tensor

from dsformer.training.parametrization import LearnedBlock


@torch.no_grad()
def carry_optimizer_state(
    optimizer: torch.optim.Optimizer, block: LearnedBlock, before: Int[Tensor, "units kept"]
) -> None:
    """Follow a block from its support ``before`` to the present one.

    Values that stay keep both moments. New ones start with no first moment and the mean second moment of their unit:
    with none at all their first steps would be many times too long (STEP, arXiv 2302.01172: second moments that mix
    values on and off the support mislead Adam).
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
