"""Attention of a model that is trained under autocast on a CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class SinglePrecisionAttention(TorchFunctionMode):
    """Computes attention products of tensors on CPU in float32, whatever autocast says; all else stays as it is.

    The gradient of torch's fused attention on CPU in bf16 takes 2 to 15 times as long as in float32 below some 400
    tokens (torch 2.13: sentences of 32 tokens spend more in it than in everything else), and never takes less.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or args[0].device.type != "cpu" or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        kind = args[0].dtype
        args, kwargs = tuple(map(_single, args)), {name: _single(value) for name, value in kwargs.items()}
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs).to(kind)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
