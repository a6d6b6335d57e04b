"""Activations computed by the compressed layer before them, in the same pass over its output."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import activations

from dsformer.ops.backends.cpu import Activation

# transformers renames these classes; what is not there is not in a model either.
_NAMED: dict[str, Activation] = {
    "GELUActivation": "gelu",
    "NewGELUActivation": "gelu_tanh",
    "FastGELUActivation": "gelu_tanh",
    "PytorchGELUTanh": "gelu_tanh",
    "GELUTanh": "gelu_tanh",
}
_KINDS = {getattr(activations, name): kind for name, kind in _NAMED.items() if hasattr(activations, name)}


def activation_of(module: nn.Module) -> Activation:
    """Which of the kernels' activations a module is; ``none`` if it is none of them."""
    if isinstance(module, Activated):
        return activation_of(module.plain)
    if type(module) is nn.GELU:
        return "gelu_tanh" if module.approximate == "tanh" else "gelu"
    return "relu" if type(module) is nn.ReLU else _KINDS.get(type(module), "none")


def mark_activated(output: Tensor) -> None:
    """Say that a layer's output is activated already: of this very tensor, not of any made from it."""
    output.__dict__["activated"] = True


class Activated(nn.Module):
    """An activation that lets pass what is activated already.

    Args:
        plain: the activation it replaces.
    """

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.plain = plain
        self.train(plain.training)

    def forward(self, x: Tensor) -> Any:
        # Compiled layers leave it to the compiler.
        return x if not torch.compiler.is_compiling() and "activated" in x.__dict__ else self.plain(x)


class Place:
    """Where a module was put. ``holds`` tells whether it is still read from there: adapters take a layer's place, and
    would add to an output that is activated already.

    Args:
        parent: the module it is an attribute of.
        attribute: the name.
    """

    def __init__(self, parent: nn.Module, attribute: str):
        self.parent, self.attribute = parent, attribute

    def holds(self, module: nn.Module) -> bool:
        return self.parent._modules.get(self.attribute) is module and not module._forward_hooks
