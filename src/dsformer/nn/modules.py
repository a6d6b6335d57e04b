"""Search and replacement of modules in a model."""

from collections.abc import Mapping

from torch import nn


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Replace modules by others, under all the names that they have in the model."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in new:
            model.set_submodule(name, new[module])


# Full names of the subclasses of nn.Linear that compute the same as it; others may compute something else.
_ALIKE = {"transformers.models.falcon.modeling_falcon.FalconLinear"}


def is_linear(module: nn.Module | None) -> bool:
    """Return whether a module computes ``x W^T + bias`` and nothing else."""
    own = type(module)
    return own is nn.Linear or f"{own.__module__}.{own.__qualname__}" in _ALIKE
