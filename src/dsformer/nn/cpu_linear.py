"""Linear layers run by the native CPU kernels, all layers of a block at once because they read the same input."""

import os
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.quantized import QuantizedForm
from dsformer.nn.compressed import StoredForm
from dsformer.nn.parameters import parameter_of
from dsformer.nn.shared_input import SharedValue
from dsformer.ops.cpu import ChainedPlan, CpuPlan, available, make_cpu_plan
from dsformer.ops.packed import PackedLinear
from dsformer.utils.tensor_cache import TensorCache

_TYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class _Packed:
    """A plan, and its outputs for the last input.

    Other weights make another plan, so that outputs never outlive their weights.
    """

    plan: CpuPlan | ChainedPlan
    outputs: SharedValue[list[Tensor]]


class StoredLinear(nn.Module):
    """A linear layer with the weight of a stored form, which another module may hold."""

    bias: nn.Parameter | None

    @property
    def stored(self) -> StoredForm:
        """Module that holds the form."""
        raise NotImplementedError

    def operate(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Compute the output by the operators, which cache nothing and have gradients."""
        raise NotImplementedError


class CpuLinear(PackedLinear):
    """Plan of the layers that read one input, made when it is first needed and again when a tensor has changed."""

    def __init__(self) -> None:
        self._layers: list[StoredLinear] = []
        self._packed: TensorCache[_Packed | None] = TensorCache()

    def add(self, layer: StoredLinear) -> int:
        """Register a layer, and return its index among those that read the same input."""
        self._layers.append(layer)
        return len(self._layers) - 1

    def run(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"] | None:
        """Compute a layer's output without gradients; None where the kernels do not apply."""
        sources, dtype = self._sources(), self._layers[0].stored.dtype
        if not (x.is_cpu and x.dtype is dtype and x.dtype in _TYPES) or sources[0].is_inference():
            return None
        if torch.is_autocast_enabled("cpu") or (torch.is_grad_enabled() and x.requires_grad):
            return None
        # A traced graph would record the result as a constant; tensor subclasses may not hold memory themselves.
        if torch.jit.is_tracing() or type(x) not in (Tensor, nn.Parameter):
            return None
        packed = self._packed.get(sources, self._make)
        if packed is None:
            return None
        return packed.outputs.take(x, (), member, lambda: packed.plan(x))[member]

    def operate(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"]:
        """Compute a layer's output by the operators."""
        return self._layers[member].operate(x)

    def clear(self) -> None:
        """Drop the plan."""
        self._packed.clear()

    def _sources(self) -> tuple[Tensor, ...]:
        if len(self._layers) == 1:
            layer = self._layers[0]
            bias = parameter_of(layer, "bias")
            return layer.stored.sources if bias is None else (*layer.stored.sources, bias)
        tensors = [tensor for layer in self._layers for tensor in layer.stored.sources]
        biases = [parameter_of(layer, "bias") for layer in self._layers]
        return (*tensors, *[bias for bias in biases if bias is not None])

    def _make(self) -> "_Packed | None":
        if not kernels_enabled():
            return None
        layers, stored = self._layers, [layer.stored for layer in self._layers]
        if stored[0].dense:
            return None
        form: Form | QuantizedForm
        if stored[0].is_int8:
            form = QuantizedForm.joined([one.quantized_form(one.unpacked()) for one in stored])
        else:
            form = Form.joined([one.form() for one in stored])
        bias, dtype = None, stored[0].dtype
        if any(layer.bias is not None for layer in layers):
            zeros = [torch.zeros(one.spec.out_features, dtype=dtype) for one in stored]
            bias = torch.cat(
                [zero if one.bias is None else one.bias.detach() for one, zero in zip(layers, zeros, strict=True)]
            )
        try:
            plan = make_cpu_plan(form, bias, [one.spec.out_features for one in stored], dtype)
        except InputError:
            return None
        return _Packed(plan, SharedValue(len(layers)))


@torch.compiler.assume_constant_result
def kernels_enabled() -> bool:
    """Return whether native kernels are used.

    They are if they are available and ``DSFORMER_KERNELS`` is not ``reference``.
    """
    return os.environ.get("DSFORMER_KERNELS", "") != "reference" and available()
