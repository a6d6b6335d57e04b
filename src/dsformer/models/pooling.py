"""Pooling of a sentence-transformers model: how one embedding is made of a text's hidden states."""

import json
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from dsformer.errors import InputError
from dsformer.models.directory import MODULES, read_modules

Pooling = Callable[[Float[Tensor, "batch time width"], Float[Tensor, "batch time"]], Float[Tensor, "batch width"]]


def mean_pooling(
    hidden: Float[Tensor, "batch time width"], weight: Float[Tensor, "batch time"]
) -> Float[Tensor, "batch width"]:
    """Average the hidden states of the real tokens; the weight of padding is 0."""
    return (hidden * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True).clamp_min(1)


def first_pooling(
    hidden: Float[Tensor, "batch time width"], weight: Float[Tensor, "batch time"]
) -> Float[Tensor, "batch width"]:
    """Return the hidden state of the first token."""
    return hidden[:, 0]


def read_pooling(directory: Path) -> Pooling:
    """Return mean or first-token pooling, as the directory configures it; mean pooling if it configures none.

    Raises:
        InputError: it configures another kind of pooling.
    """
    if not (directory / MODULES).is_file():
        return mean_pooling
    for module in read_modules(directory / MODULES):
        if str(module["type"]).endswith("Pooling"):
            config = json.loads((directory / module["path"] / "config.json").read_text(encoding="utf-8"))
            # Older files have one switch per mode, newer ones name the mode.
            modes = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
            if modes == ["pooling_mode_cls_token"] or config.get("pooling_mode") == "cls":
                return first_pooling
            if modes == ["pooling_mode_mean_tokens"] or config.get("pooling_mode") == "mean":
                return mean_pooling
            raise InputError(f"{directory}: distillation knows mean and first-token pooling, not {modes or config}")
    return mean_pooling
