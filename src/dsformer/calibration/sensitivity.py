"""Sensitivity of the model's output to an error in each block."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.calibration.second_moments import select_real_tokens
from dsformer.calibration.trace import Block, weight_of


def measure_sensitivities(
    model: nn.Module,
    batches: Sequence[Mapping[str, Any]],
    blocks: Sequence[Block],
    approximate: Callable[[Block], tuple[Float[Tensor, "out in"], float]],
    tick: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Measure the squared relative change of the model's output per squared relative error of each block.

    Every block in turn is replaced by an approximation, the model runs, and the block is restored.

    Args:
        model: dense; unchanged afterwards.
        batches: to run.
        blocks: to measure.
        approximate: returns a block's approximated stacked weight and its relative whitened error.
        tick: called with the number of blocks done.
    """
    reference = [_output(model, batch) for batch in batches]
    energy = sum(float(one.square().sum()) for one in reference)
    found = []
    for i, block in enumerate(blocks):
        weight, error = approximate(block)
        kept = [module.weight.detach().clone() for module in block.modules]  # type: ignore[operator]
        _set(block, weight)
        change = sum(
            float((_output(model, batch) - one).square().sum()) for batch, one in zip(batches, reference, strict=True)
        )
        for module, values in zip(block.modules, kept, strict=True):
            module.weight.data.copy_(values)  # type: ignore[operator]
        found.append(change / energy / max(error, 1e-6) ** 2)
        tick(i + 1)
    return found


def _set(block: Block, weight: Float[Tensor, "out in"]) -> None:
    """Set the weights of a block's layers."""
    for module, rows in zip(block.modules, weight.split(list(block.members)), strict=True):
        weight_of(module).data.copy_(rows)


def _output(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Return the model's first output (hidden states or logits) at real tokens, as float32."""
    with torch.no_grad():
        return select_real_tokens(model(**batch)[0].float(), batch.get("attention_mask"))
