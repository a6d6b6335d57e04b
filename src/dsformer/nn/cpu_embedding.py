"""Embedding rows read by the native CPU kernels from the stored tensors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.nn.compressed import StoredForm
from dsformer.nn.cpu_linear import kernels_enabled
from dsformer.ops.cpu import CpuTable
from dsformer.ops.packed import PackedEmbedding
from dsformer.utils.tensor_cache import TensorCache


class StoredTable(StoredForm):
    """A stored form whose units are rows of a table."""

    @property
    def code_of(self) -> Int[Tensor, " units"] | None:
        """Code that describes each row; None: code i describes row i."""
        raise NotImplementedError

    def operate(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Look rows up by the operator, which caches nothing and has gradients."""
        raise NotImplementedError


class CpuEmbedding(PackedEmbedding):
    """Kernel table of an embedding, made when it is first read and again when a tensor has changed."""

    def __init__(self, layer: StoredTable):
        self._layer = layer
        self._table: TensorCache[CpuTable | None] = TensorCache()

    def read(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"] | None:
        """Look rows up without gradients; None where the kernels do not apply."""
        sources = self._layer.sources
        if not ids.is_cpu or type(ids) not in (Tensor, nn.Parameter) or torch.jit.is_tracing():
            return None
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in sources):
            return None
        table = self._table.get(sources, self._make)
        return None if table is None else table(ids)

    def operate(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Look rows up by the operator."""
        return self._layer.operate(ids)

    def _make(self) -> CpuTable | None:
        layer = self._layer
        if not kernels_enabled():
            return None
        scales: tuple[Tensor | None, Tensor] | None = None
        values, dictionary = layer.weight.detach(), layer.dictionary
        dictionary = None if dictionary is None else dictionary.detach()
        if layer.weight_scale is not None:
            if not layer.is_int8:
                return None
            scales = (layer.dictionary_scale, layer.weight_scale)
            values, whole = layer.integer_factors()
            dictionary = whole if layer.spec.atoms else None
        try:
            return CpuTable(layer.spec, values, dictionary, layer.support, layer.code_of, scales, layer.dtype)
        except InputError:
            return None
