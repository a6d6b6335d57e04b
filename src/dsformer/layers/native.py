"""The layers of a block run by the native CPU kernels, all at once: they read the same input."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.factorization.form import Form
from dsformer.layers.derived import Derived
from dsformer.layers.product import Shared
from dsformer.ops.backends.cpu import Activation, CpuPlan, available

if TYPE_CHECKING:
    from dsformer.layers.dense_sparse import LinearProduct

_TYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class _Packed:
    """A plan and what it says of the last input. Other weights make another plan, so outputs never outlive theirs."""

    plan: CpuPlan
    outputs: Shared[list[Tensor]]


class NativeBlock:
    """The plan of a block, made when it is first needed and again when a tensor has changed."""

    def __init__(self) -> None:
        self._layers: list[LinearProduct] = []
        self._packed: dict[Activation, Derived[_Packed | None]] = {}

    def add(self, layer: "LinearProduct") -> int:
        """Take a layer in. Returns its place in the block."""
        self._layers.append(layer)
        return len(self._layers) - 1

    def run(
        self, x: Float[Tensor, "*batch in"], member: int, activation: Activation = "none"
    ) -> Float[Tensor, "*batch out"] | None:
        """A layer's activated output, without gradients; None where the kernels do not apply."""
        weight = self._layers[0].stored.weight
        if not (enabled() and x.is_cpu and x.dtype is weight.dtype and x.dtype in _TYPES) or weight.is_inference():
            return None
        if torch.is_autocast_enabled("cpu") or (torch.is_grad_enabled() and x.requires_grad):
            return None
        # A traced graph would take the result for a constant; tensors of other types may have no memory of their own.
        if torch.jit.is_tracing() or type(x) not in (Tensor, nn.Parameter):
            return None
        packed = self._packed.setdefault(activation, Derived()).get(self._sources(), lambda: self._make(activation))
        if packed is None:
            return None
        return packed.outputs.take(x, (), member, lambda: packed.plan(x))[member]

    def clear(self) -> None:
        """Forget the plan."""
        self._packed.clear()

    def _sources(self) -> tuple[Tensor, ...]:
        tensors = [tensor for layer in self._layers for tensor in layer.stored.sources]
        return (*tensors, *(layer.bias for layer in self._layers if layer.bias is not None))

    def _make(self, activation: Activation) -> "_Packed | None":
        form, layers = Form.joined([layer.stored.form() for layer in self._layers]), self._layers
        bias = None
        if any(layer.bias is not None for layer in layers):
            zeros = [layer.stored.weight.new_zeros(layer.stored.spec.out_features) for layer in layers]
            bias = torch.cat(
                [zero if one.bias is None else one.bias.detach() for one, zero in zip(layers, zeros, strict=True)]
            )
        try:
            plan = CpuPlan.of(form, bias, [layer.stored.spec.out_features for layer in layers], activation)
        except InputError:
            return None
        return _Packed(plan, Shared(len(layers)))


def enabled() -> bool:
    """Whether native kernels are used: they are there, and ``DSFORMER_KERNELS`` does not say ``reference``."""
    return os.environ.get("DSFORMER_KERNELS", "") != "reference" and available()
