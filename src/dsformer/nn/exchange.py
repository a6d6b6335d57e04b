"""Other modules in the place of a model's own."""

from collections.abc import Mapping

from torch import nn


def exchange(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put other modules in the place of some, under all names these have."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in new:
            model.set_submodule(name, new[module])
