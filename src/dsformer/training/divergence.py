"""Notice a training that has run into NaN or infinity, in the step in which it did, before anything is kept of it."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dsformer.errors import InputError


class DivergedError(InputError):
    """The loss or the weights of a training are NaN or infinite."""


def what_diverged(loss: Tensor | None, model: nn.Module) -> str | None:
    """What is NaN or infinite after a step: the loss, or the name of a tensor that is trained; None: nothing.

    Norms tell, which cost about a hundredth of a step; the one that is named is looked for only then.
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
    """Whether it is a whole safetensors file, all of whose numbers are finite."""
    try:
        with safe_open(checkpoint, "pt") as file:
            names = list(file.keys())
            return all(bool(torch.isfinite(file.get_tensor(name)).all()) for name in names)
    except SafetensorError:
        return False


def _trained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters that are trained now or were, and what learners keep beside them."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or parameter.grad is not None or name.startswith("learned_blocks."):
            yield name, parameter.detach()
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and name.startswith("learned_blocks."):
            yield name, buffer
