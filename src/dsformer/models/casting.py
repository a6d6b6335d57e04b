"""Casting a model to another floating-point type, with the exceptions that transformers makes on loading."""

from typing import Any

import torch
from torch import nn

from dsformer.models.empty_model import make_empty_copy

try:
    from transformers.core_model_loading import build_glob_alternation
except ImportError:  # transformers 4
    build_glob_alternation = None  # type: ignore[assignment]


def cast_model(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast a model in place to the types that ``from_pretrained(..., dtype=dtype)`` would load it in.

    ``model.to(dtype)`` also casts what is recomputed whenever a model is loaded: rotary frequencies, which transformers
    keeps in float32 whatever the type of the weights is.
    """
    wanted = _types(model, dtype)
    # Each by the first of its names: a tensor may have several.
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        if tensor.is_floating_point():
            prefix, _, own = name.rpartition(".")
            # Compressed layers have tensors of other names, in the type of the weight they replace.
            other = wanted.get(name, wanted.get(f"{prefix}.weight"))
            if other is None:
                other = tensor.dtype if _computed(model, prefix, own) else dtype
            tensor.data = tensor.data.to(other)


def keep_wide(model: Any) -> None:
    """Cast the tensors that a model's class keeps in float32 to that type.

    Loading does the same, whatever type they have in the file. Call this once the model has been saved: in the file
    they have the type that the size was computed with.
    """
    if build_glob_alternation is None or not (plan := model._get_dtype_plan(model.dtype)):
        return
    kept = build_glob_alternation(list(plan))[0]
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and kept.search(name):
            tensor.data = tensor.data.float()


def _computed(model: nn.Module, prefix: str, name: str) -> bool:
    """Return whether a tensor is a non-persistent buffer, which is in no file."""
    return name in model.get_submodule(prefix)._non_persistent_buffers_set


def _types(model: nn.Module, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Return the types of the tensors of an empty model of the same class, built in the given type."""
    empty = make_empty_copy(model, dtype)
    if empty is None:
        return {}
    return {name: tensor.dtype for name, tensor in (*empty.named_parameters(), *empty.named_buffers())}
