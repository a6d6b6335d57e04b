"""The layers of a block run by the native CPU kernels, all at once: they read the same input."""

import os
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.factorization.form import Form
from dsformer.layers.derived import Derived
from dsformer.layers.product import Shared
from dsformer.ops.backends.cpu import CpuPlan, available

if TYPE_CHECKING:
    from dsformer.layers.dense_sparse import LinearProduct

_TYPES = (torch.float32, torch.bfloat16)


class NativeBlock:
    """The plan of a block, made when it is first needed and again when a tensor has changed."""

    def __init__(self) -> None:
        self._layers: list[LinearProduct] = []
        self._plan: Derived[CpuPlan | None] = Derived()
        self._outputs: Shared[list[Tensor]] = Shared(0)

    def add(self, layer: "LinearProduct") -> int:
        """Take a layer in. Returns its place in the block."""
        self._layers.append(layer)
        self._outputs = Shared(len(self._layers))
        return len(self._layers) - 1

    def run(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"] | None:
        """A layer's output, without gradients; None where the kernels do not apply and other ways have to be taken."""
        weight = self._layers[0].stored.weight
        if not (enabled() and x.is_cpu and x.dtype is weight.dtype and x.dtype in _TYPES) or weight.is_inference():
            return None
        if torch.is_autocast_enabled("cpu") or (torch.is_grad_enabled() and x.requires_grad):
            return None
        # A traced graph would take the result for a constant; tensors of other types may have no memory of their own.
        if torch.jit.is_tracing() or type(x) not in (Tensor, nn.Parameter):
            return None
        sources = self._sources()
        plan = self._plan.get(sources, self._make)
        if plan is None:
            return None
        return self._outputs.take(x, sources, member, lambda: plan(x))[member]

    def clear(self) -> None:
        """Forget the plan."""
        self._plan.clear()

    def _sources(self) -> tuple[Tensor, ...]:
        tensors = [tensor for layer in self._layers for tensor in layer.stored.sources]
        return (*tensors, *(layer.bias for layer in self._layers if layer.bias is not None))

    def _make(self) -> CpuPlan | None:
        form, layers = Form.joined([layer.stored.form() for layer in self._layers]), self._layers
        spec, bias = form.spec, None
        if any(layer.bias is not None for layer in layers):
            zeros = [layer.stored.weight.new_zeros(layer.stored.spec.out_features) for layer in layers]
            bias = torch.cat(
                [zero if one.bias is None else one.bias.detach() for one, zero in zip(layers, zeros, strict=True)]
            )
        try:
            return CpuPlan(
                form.values,
                form.indices,
                form.permutation,
                form.dictionary if spec.atoms else None,
                bias,
                spec.core,
                spec.pattern.group,
                spec.canonical,
                spec.orientation == "output",
                spec.out_features,
                [layer.stored.spec.out_features for layer in layers],
                spec.in_features,
            )
        except InputError:
            return None


def enabled() -> bool:
    """Whether native kernels are used: they are there, and ``DSFORMER_KERNELS`` does not say ``reference``."""
    return os.environ.get("DSFORMER_KERNELS", "") != "reference" and available()
