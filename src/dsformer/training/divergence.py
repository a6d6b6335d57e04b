"""Detection of NaN and infinity in training, at the step in which they occur and before a checkpoint keeps them."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dsformer.errors import InputError


class DivergedError(InputError):
    """The loss or a trained weight is NaN or infinite."""


def what_diverged(loss: Tensor | None, model: nn.Module) -> str | None:
    """Return what is NaN or infinite after a step: ``the loss`` or the name of a trained tensor; None: nothing.

    Only norms are checked, which takes about a hundredth of a step. The tensor is looked for only if one is not finite.
    """
    names, tensors = zip(*_trained(model), strict=True)
    norms = torch.stack([one.float() for one in torch._foreach_norm(list(tensors))])
    if loss is not None:
        norms = torch.cat([norms, loss.detach().float().reshape(1).to(norms.device)])
    if bool(torch.isfinite(norms).all()):
        return None
    wrong = [name for name, one in zip(names, norms.tolist(), strict=False) if not abs(one) < float("inf")]
    return "the loss" if not wrong or (loss is not None and not bool(torch.isfinite(loss))) else wrong[0]


def is_finite(checkpoint: Path) -> bool:
    """Return whether a file is a complete safetensors file with finite values only."""
    try:
        with safe_open(checkpoint, "pt") as file:
            names = list(file.keys())
            return all(bool(torch.isfinite(file.get_tensor(name)).all()) for name in names)
    except SafetensorError:
        return False


def _trained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters that are trained or have been, and the floating-point buffers of trained blocks."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or parameter.grad is not None or name.startswith("learned_blocks."):
            yield name, parameter.detach()
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and name.startswith("learned_blocks."):
            yield name, buffer
