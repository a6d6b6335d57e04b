"""An embedding whose rows are read by the native CPU kernels, from the tensors as they are stored."""

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.nn.cpu_linear import enabled
from dsformer.ops.cpu import CpuTable
from dsformer.utils.tensor_cache import Derived

if TYPE_CHECKING:
    from dsformer.nn.embedding import DenseSparseEmbedding

_numbers = itertools.count()
_tables: "weakref.WeakValueDictionary[int, NativeTable]" = weakref.WeakValueDictionary()


class NativeTable:
    """What the kernels know of an embedding, found out when it is first read and again when a tensor has changed.

    Attributes:
        number: what compiled graphs know it by; copies have numbers of their own.
    """

    def __init__(self, layer: "DenseSparseEmbedding"):
        self._layer = layer
        self._begin()

    def _begin(self) -> None:
        self._table: Derived[CpuTable | None] = Derived()
        self.number = next(_numbers)
        _tables[self.number] = self

    def __getstate__(self) -> dict[str, Any]:
        return {"_layer": self._layer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._layer = state["_layer"]
        self._begin()

    def read(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"] | None:
        """Rows without gradients; None where the kernels do not apply."""
        sources = self._layer.sources
        if not ids.is_cpu or type(ids) not in (Tensor, nn.Parameter) or torch.jit.is_tracing():
            return None
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in sources):
            return None
        table = self._table.get(sources, self._make)
        return None if table is None else table(ids)

    def operate(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Rows by the operator."""
        return self._layer.operate(ids)

    def _make(self) -> CpuTable | None:
        layer = self._layer
        if not enabled():
            return None
        scales: tuple[Tensor | None, Tensor] | None = None
        values, dictionary = layer.weight.detach(), layer.dictionary
        dictionary = None if dictionary is None else dictionary.detach()
        if layer.weight_scale is not None:
            if not layer.in_bytes:
                return None
            scales = (layer.dictionary_scale, layer.weight_scale)
            values, whole = layer.whole_numbers()
            dictionary = whole if layer.spec.atoms else None
        try:
            return CpuTable(layer.spec, values, dictionary, layer.support, layer.code_of, scales, layer.dtype)
        except InputError:
            return None


# A lookup in a compiled graph. The table's tensors are no inputs of the graph: unpacking a support in every call would
# cost more than all the rest.
_LIBRARY = torch.library.Library("dsformer", "FRAGMENT")
_LIBRARY.define("native_embedding(Tensor ids, int table, int dim, ScalarType dtype) -> Tensor")


def native_embedding(
    ids: Int[Tensor, "*batch"], table: int, dim: int, dtype: torch.dtype
) -> Float[Tensor, "*batch dim"]:
    """Rows of an embedding, without gradients, by the kernels or else the operator.

    Args:
        table: number of the embedding's table.
        dim: length of a row.
        dtype: of the rows.
    """
    return torch.ops.dsformer.native_embedding(ids, table, dim, dtype)


def _read(ids: Tensor, table: int, dim: int, dtype: torch.dtype) -> Tensor:
    rows = _tables[table].read(ids)
    return _tables[table].operate(ids) if rows is None else rows


torch.library.impl("dsformer::native_embedding", "cpu", lib=_LIBRARY)(_read)
torch.library.register_fake("dsformer::native_embedding", lib=_LIBRARY)(
    lambda ids, table, dim, dtype: ids.new_empty((*ids.shape, dim), dtype=dtype)
)
