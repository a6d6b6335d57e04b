"""Linear layer stored as a dictionary and sparse codes."""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from dsformer import ops
from dsformer.format.precision import Precision
from dsformer.format.spec import FormSpec
from dsformer.nn.compressed import StoredForm
from dsformer.nn.cpu_linear import CpuLinear, StoredLinear, kernels_enabled
from dsformer.nn.shared_input import SharedProduct
from dsformer.nn.strategy import ExecutionPlan, choose_strategy
from dsformer.ops.packed import TRACEABLE, packed_linear
from dsformer.ops.reference import dense_codes, linear_bytes
from dsformer.utils.tensor_cache import TensorCache

L = TypeVar("L", bound="LinearProduct")


class LinearProduct(StoredLinear):
    """``x W^T + bias`` with the weight of a stored form.

    The layer runs by the native kernels, or by the cheapest other way (see ``strategy.py``), where its weights need no
    gradient and are *fixed*. They are fixed in evaluation mode, until they get a gradient. Otherwise it runs by the
    operators, which cache nothing: PyTorch does not show that a fused optimizer has changed a weight. ``eval()`` and
    ``train()`` drop what was cached.
    """

    def __init__(self) -> None:
        self._plan: TensorCache[ExecutionPlan] = TensorCache()
        self._weights_fixed = False
        self._own_product = SharedProduct(1)
        self._packed = CpuLinear()
        self._member = self._packed.add(self)

    def train(self: L, mode: bool = True) -> L:
        """Set the mode, and drop what was cached unless this only repeats evaluation mode."""
        # Encoders call eval() before every batch: a plan that is still valid is kept.
        if mode or self.training != mode or not self._weights_fixed:
            self._weights_fixed = not mode
            self._forget()
        return nn.Module.train(self, mode)

    @property
    def _product(self) -> SharedProduct:
        return self._own_product

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Compute the output in the fastest way that the state of the weights allows."""
        stored = self.stored
        if torch.compiler.is_compiling():
            return self._compiled(x)
        if not self._weights_fixed:
            return self.operate(x)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in stored.sources):
            y = self.operate(x)
            y.register_hook(self._unfix_weights)
            return y
        native = self._packed.run(x, self._member)
        return self._run(self._plan.get(stored.sources, self._make_plan), x) if native is None else native

    def _unfix_weights(self, _: Tensor) -> None:
        self._weights_fixed = False
        self._forget()

    def _forget(self) -> None:
        self._plan.clear()
        self._packed.clear()

    def _compiled(self, x: Tensor) -> Tensor:
        plain = x.device.type == "cpu" and x.dtype == self.stored.dtype
        plain = plain and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        if TRACEABLE and plain and self._weights_fixed and kernels_enabled() and not torch.compiler.is_exporting():
            return packed_linear(x, self._packed, self._member, self.stored.spec.out_features)
        return self.operate(x)

    def operate(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Compute the output by the operators, which cache nothing and have gradients."""
        stored, spec = self.stored, self.stored.spec
        if stored.dense:
            x, weight, bias = _autocast(x, stored.values, self.bias)
            return linear(x, weight, bias)
        indices = stored.indices
        if stored.is_int8:
            return self._operate_bytes(x, self._codes(indices))
        x, dictionary, values, bias = _autocast(x, stored.shared_dictionary, stored.values, self.bias)
        permutation, core, group = stored.order, spec.core, spec.pattern.group
        if spec.orientation == "input" and dictionary is not None:
            product = self._dictionary_product(x, dictionary)
            z = x if spec.canonical else None
            return ops.dense_sparse_codes(product, z, values, indices, bias, permutation, core, group)
        layout = (core, group, spec.canonical, spec.orientation == "output", spec.out_features)
        return ops.dense_sparse_linear(x, dictionary, values, indices, bias, permutation, *layout)

    def _dictionary_product(self, x: Tensor, dictionary: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # Caching inputs would break graphs. Graphs made for training merge equal products themselves.
            return linear(x, dictionary)
        return self._product.get(x, dictionary, self._member)

    def _operate_bytes(self, x: Tensor, codes: Tensor) -> Tensor:
        spec = self.stored.spec
        x, dictionary, codes, bias = _autocast(x, self.stored.shared_dictionary, codes, self.bias)
        rows = x.reshape(-1, x.shape[-1])
        y = linear_bytes(rows, dictionary, codes, bias, spec.canonical, spec.orientation == "output")
        return y.view(*x.shape[:-1], spec.out_features)

    def _codes(self, indices: Tensor) -> Tensor:
        stored, spec = self.stored, self.stored.spec
        layout = (stored.order, spec.core, spec.pattern.group, spec.core + spec.candidates)
        return dense_codes(stored.values, indices, *layout)

    def _make_plan(self) -> ExecutionPlan:
        stored, spec = self.stored, self.stored.spec
        if stored.is_int8:
            return ExecutionPlan("factored", self._codes(stored.unpacked()))
        way = choose_strategy(spec, self._product.members)
        if way == "gathered":
            return ExecutionPlan(way)
        if stored.dense:
            return ExecutionPlan(way, stored.values.detach())
        if way == "dense":
            return ExecutionPlan(way, stored.form().dense())
        codes = self._codes(stored.unpacked())
        return ExecutionPlan(way, codes if spec.orientation == "input" else codes.t().contiguous())

    def _run(self, plan: ExecutionPlan, x: Tensor) -> Tensor:
        if plan.matrix is None:
            return self.operate(x)
        if self.stored.is_int8:
            return self._operate_bytes(x, plan.matrix)
        dictionary = self.stored.shared_dictionary
        if plan.way == "dense" or dictionary is None:
            return linear(x, plan.matrix, self.bias)
        if self.stored.spec.orientation == "input":
            return linear(self._dictionary_product(x, dictionary), plan.matrix, self.bias)
        return linear(linear(x, plan.matrix), dictionary, self.bias)


class DenseSparseLinear(LinearProduct, StoredForm):
    """``y = x W^T + bias`` with ``W ~ S [D; I]`` or ``W ~ [D, I] S``.

    Layers of a block, which read the same input, share the dictionary of the first of them. Its product with the input
    is computed once (see ``SharedProduct``). Layers that read other inputs may share the stored dictionary too.

    Attributes:
        replaces: (out, in) of the layer it replaces, if that is wider.
        parts: (before, after) rows of the parts of its output, where it has fewer (see ``resize.match_row_parts``).
        counts_heads: the attention module around it has as many heads as this layer's output features give.

    Args:
        spec: of this layer alone, not of the block.
        bias: whether there is one.
        lead: the first layer of the block; None for that one itself.
        conv1d: the layer replaces a GPT-2 ``Conv1D``, which stores the transposed weight.
        device, dtype, precision: of the tensors, which are not initialized.
        owner: the layer that holds the dictionary, where that is not the lead.
    """

    def __init__(
        self,
        spec: FormSpec,
        bias: bool = True,
        lead: "DenseSparseLinear | None" = None,
        conv1d: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        precision: Precision | None = None,
        owner: "DenseSparseLinear | None" = None,
    ):
        StoredForm.__init__(self, spec, True, owner or lead, device, dtype, precision)
        LinearProduct.__init__(self)
        # In a tuple, so that it is not registered.
        self._first = () if lead is None else (lead,)
        empty = torch.empty(spec.out_features, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if empty is None else nn.Parameter(empty))
        self.in_features, self.out_features, self.conv1d = spec.in_features, spec.out_features, conv1d
        self.replaces: tuple[int, int] | None = None
        self.parts: list[tuple[int, int]] = []
        self.counts_heads = False
        if conv1d:
            self.nf, self.nx = spec.out_features, spec.in_features
        if lead is not None:
            self._packed = lead._packed
            self._member = self._packed.add(self)
            lead._own_product = SharedProduct(self._member + 1)

    @property
    def stored(self) -> StoredForm:
        """This module, which holds the form."""
        return self

    @property
    def _product(self) -> SharedProduct:
        return (self._first[0] if self._first else self)._own_product

    def densified(self) -> nn.Linear | Conv1D:
        """Return a layer of the class that this one replaced, with the dense weight and the same bias."""
        weight = self.form().dense()
        if self.conv1d:
            layer: nn.Linear | Conv1D = Conv1D(self.out_features, self.in_features)
            weight = weight.t().contiguous()
        else:
            layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight = nn.Parameter(weight)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().clone())
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Describe the sizes and the form."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}, {self.form_repr()}"


def _autocast(x: Tensor, *weights: Tensor | None) -> tuple:
    """Cast tensors to autocast's type where it is on.

    The operators compute in the types of their arguments.
    """
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return x, *weights
    dtype = torch.get_autocast_dtype(device)
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in (x, *weights))
