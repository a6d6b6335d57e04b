"""The layers of a block run by the native CPU kernels, all at once: they read the same input."""

import itertools
import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.quantized import RoundedForm
from dsformer.nn.parameters import parameter_of
from dsformer.nn.shared_input import Shared
from dsformer.ops.cpu import ChainedPlan, CpuPlan, available, plan_of
from dsformer.utils.tensor_cache import Derived

if TYPE_CHECKING:
    from dsformer.nn.linear import LinearProduct

# Exported graphs leave the process: they hold the weights and the operators. Before this release graphs cannot tell
# reliably that they are exported.
TELLS_EXPORTS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)
_TYPES = (torch.float32, torch.bfloat16)
_numbers = itertools.count()
_blocks: "weakref.WeakValueDictionary[int, NativeBlock]" = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class _Packed:
    """A plan and what it says of the last input. Other weights make another plan, so outputs never outlive theirs."""

    plan: CpuPlan | ChainedPlan
    outputs: Shared[list[Tensor]]


class NativeBlock:
    """The plan of a block, made when it is first needed and again when a tensor has changed.

    Attributes:
        number: what compiled graphs know it by; copies have numbers of their own.
    """

    def __init__(self) -> None:
        self._layers: list[LinearProduct] = []
        self._begin()

    def _begin(self) -> None:
        self._packed: Derived[_Packed | None] = Derived()
        self.number = next(_numbers)
        _blocks[self.number] = self

    def __getstate__(self) -> dict[str, Any]:
        return {"_layers": self._layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._layers = state["_layers"]
        self._begin()

    def add(self, layer: "LinearProduct") -> int:
        """Take a layer in. Returns its place in the block."""
        self._layers.append(layer)
        return len(self._layers) - 1

    def run(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"] | None:
        """A layer's output, without gradients; None where the kernels do not apply and other ways have to be taken."""
        sources, dtype = self._sources(), self._layers[0].stored.dtype
        if not (x.is_cpu and x.dtype is dtype and x.dtype in _TYPES) or sources[0].is_inference():
            return None
        if torch.is_autocast_enabled("cpu") or (torch.is_grad_enabled() and x.requires_grad):
            return None
        # A traced graph would take the result for a constant; tensors of other types may have no memory of their own.
        if torch.jit.is_tracing() or type(x) not in (Tensor, nn.Parameter):
            return None
        packed = self._packed.get(sources, self._make)
        if packed is None:
            return None
        return packed.outputs.take(x, (), member, lambda: packed.plan(x))[member]

    def operate(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"]:
        """A layer's output by the operators."""
        return self._layers[member].operate(x)

    def clear(self) -> None:
        """Forget the plan."""
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
        if not enabled():
            return None
        layers, stored = self._layers, [layer.stored for layer in self._layers]
        if stored[0].dense:
            return None
        form: Form | RoundedForm
        if stored[0].in_bytes:
            form = RoundedForm.joined([one.rounded_form(one.unpacked()) for one in stored])
        else:
            form = Form.joined([one.form() for one in stored])
        bias, dtype = None, stored[0].dtype
        if any(layer.bias is not None for layer in layers):
            zeros = [torch.zeros(one.spec.out_features, dtype=dtype) for one in stored]
            bias = torch.cat(
                [zero if one.bias is None else one.bias.detach() for one, zero in zip(layers, zeros, strict=True)]
            )
        try:
            plan = plan_of(form, bias, [one.spec.out_features for one in stored], dtype)
        except InputError:
            return None
        return _Packed(plan, Shared(len(layers)))


@torch.compiler.assume_constant_result
def enabled() -> bool:
    """Whether native kernels are used: they are there, and ``DSFORMER_KERNELS`` does not say ``reference``."""
    return os.environ.get("DSFORMER_KERNELS", "") != "reference" and available()


# A layer in a compiled graph. Its weights are no inputs of the graph: the block looks whether they have changed.
_LIBRARY = torch.library.Library("dsformer", "FRAGMENT")
_LIBRARY.define(
    "native_layer(Tensor x, int block, int member, int out_features) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,)
)


def native_layer(
    x: Float[Tensor, "*batch in"], block: int, member: int, out_features: int
) -> Float[Tensor, "*batch out"]:
    """The output of a layer, without gradients, by the kernels or else the operators.

    Args:
        block: number of the layer's block.
        member: the layer's place in it.
        out_features: length of the last dimension of the result.
    """
    return torch.ops.dsformer.native_layer(x, block, member, out_features)


def _run(x: Tensor, block: int, member: int, out_features: int) -> Tensor:
    layers = _blocks[block]
    y = layers.run(x, member)
    return layers.operate(x, member) if y is None else y


torch.library.impl("dsformer::native_layer", "cpu", lib=_LIBRARY)(_run)
torch.library.register_fake("dsformer::native_layer", lib=_LIBRARY)(
    lambda x, block, member, out_features: x.new_empty((*x.shape[:-1], out_features))
)
