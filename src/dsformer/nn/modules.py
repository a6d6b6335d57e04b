"""Finding the linear layers of a model, and putting other modules in their places."""

from collections.abc import Mapping

from torch import nn


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put other modules in the place of some, under all names these have."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in new:
            model.set_submodule(name, new[module])


# Subclasses of nn.Linear that compute what it does, by their full names: others may do something else.
_ALIKE = {"transformers.models.falcon.modeling_falcon.FalconLinear"}


def is_linear(module: nn.Module | None) -> bool:
    """Whether a module computes ``x W^T + bias`` and nothing else."""
    own = type(module)
    return own is nn.Linear or f"{own.__module__}.{own.__qualname__}" in _ALIKE
