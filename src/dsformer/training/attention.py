"""Float32 attention for models trained under autocast on a CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

# Length of a text, in tokens, beyond which bf16 is as fast.
LONGEST = 512


class SinglePrecisionAttention(TorchFunctionMode):
    """Computes the attention of short texts on a CPU in float32, even under autocast; changes no other operation.

    The gradient of torch's fused attention on a CPU takes several times as long in bf16 (torch 2.13; for sentences of
    32 tokens it takes longer than any other operation): see ``benchmarks/attention_speed.py``.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        query = args[0] if args else kwargs["query"]
        if query.device.type != "cpu" or query.dtype == torch.float64 or query.shape[-2] > LONGEST:
            return func(*args, **kwargs)
        args, kwargs = tuple(map(_single, args)), {name: _single(value) for name, value in kwargs.items()}
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs).to(query.dtype)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
