"""Embedding stored as a dictionary and sparse codes, and the modules tied to it."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dsformer import ops
from dsformer.format.precision import Precision
from dsformer.format.spec import FormSpec
from dsformer.nn.compressed import StoredForm
from dsformer.nn.cpu_embedding import CpuEmbedding, StoredTable
from dsformer.nn.cpu_linear import kernels_enabled
from dsformer.nn.linear import LinearProduct
from dsformer.ops.packed import TRACEABLE, packed_embedding
from dsformer.utils.tensor_cache import TensorCache


class DenseSparseEmbedding(StoredTable):
    """``E ~ S [D; I]``: every row of the vocabulary is a sparse mix of atoms, which is computed when it is looked up.

    ``weight`` is (vocabulary, core + nonzeros), from which transformers reads the size of the vocabulary.

    Args:
        spec: units are rows, ``out_features`` is the size of the vocabulary, ``in_features`` the length of a vector.
        padding_idx: the row that gets no gradient.
        device, dtype, precision: of the tensors, which are not initialized.
    """

    def __init__(
        self,
        spec: FormSpec,
        padding_idx: int | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        precision: Precision | None = None,
    ):
        super().__init__(spec, False, None, device, dtype, precision)
        self.num_embeddings, self.embedding_dim, self.padding_idx = spec.out_features, spec.in_features, padding_idx
        self._code_of: TensorCache[Tensor | None] = TensorCache()
        self._packed = CpuEmbedding(self)

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Look rows up, by the native kernels where they apply."""
        if torch.compiler.is_compiling():
            plain = ids.device.type == "cpu" and not torch.is_grad_enabled()
            if TRACEABLE and plain and kernels_enabled() and not torch.compiler.is_exporting():
                return packed_embedding(ids, self._packed, self.embedding_dim, self.dtype)
            return self.operate(ids)
        native = self._packed.read(ids)
        return self.operate(ids) if native is None else native

    def operate(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Look rows up by the operator, which caches nothing and has gradients."""
        spec = self.spec
        padding_idx = -1 if self.padding_idx is None else self.padding_idx
        layout = (spec.core, spec.pattern.group, spec.canonical, spec.in_features, padding_idx)
        return ops.dense_sparse_embedding(ids, self.shared_dictionary, self.values, self.indices, self.code_of, *layout)

    @property
    def code_of(self) -> Int[Tensor, " units"] | None:
        """Code that describes each row; None: code i describes row i."""
        if self.permutation is None or torch.compiler.is_compiling():
            return self._inverse()
        return self._code_of.get((self.permutation,), self._inverse)

    def _inverse(self) -> Int[Tensor, " units"] | None:
        order = self.order
        if order is None:
            return None
        return torch.empty_like(order).scatter_(0, order, torch.arange(self.spec.units, device=order.device))

    def densified(self) -> nn.Embedding:
        """Return a plain embedding with the dense weight."""
        layer = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, device="meta")
        layer.weight = nn.Parameter(self.form().dense())
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Describe the sizes and the form."""
        return f"{self.num_embeddings}, {self.embedding_dim}, padding_idx={self.padding_idx}, {self.form_repr()}"


class _Tied(nn.Module):
    """A module that reads a compressed embedding and stores nothing of it.

    Its ``weight`` is the embedding's. Tying it again, as transformers does whenever a model is loaded, changes nothing.
    """

    def __init__(self, owner: DenseSparseEmbedding):
        super().__init__()
        # In a tuple, so that it is not registered: its tensors must appear once in a state dict.
        self._owner = (owner,)

    @property
    def owner(self) -> DenseSparseEmbedding:
        """Embedding that holds the form."""
        return self._owner[0]

    @property
    def weight(self) -> Tensor:
        """Code values of the embedding."""
        return self.owner.weight

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "weight":
            super().__setattr__(name, value)
        elif value is not self.owner.weight:
            raise AttributeError("the weight of this module is that of a compressed embedding and cannot be replaced")


class TiedEmbedding(_Tied):
    """A second embedding with the same weight, as in the encoder and decoder of T5."""

    def __init__(self, owner: DenseSparseEmbedding):
        super().__init__(owner)
        self.num_embeddings, self.embedding_dim = owner.num_embeddings, owner.embedding_dim
        self.padding_idx = owner.padding_idx

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Look rows up in the owner."""
        return self.owner(ids)

    def densified(self, weight: nn.Parameter) -> nn.Embedding:
        """Return a plain embedding with the dense weight of its owner."""
        layer = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, device="meta")
        layer.weight = weight
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Describe the sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}, tied"


class TiedHead(LinearProduct, _Tied):
    """``x E^T + bias``: an output layer with the weight of the embedding, as in language models.

    Args:
        owner: the compressed embedding.
        bias: (vocabulary,) of this layer; None without.
    """

    def __init__(self, owner: DenseSparseEmbedding, bias: nn.Parameter | None):
        _Tied.__init__(self, owner)
        LinearProduct.__init__(self)
        self.register_parameter("bias", bias)
        self.in_features, self.out_features = owner.embedding_dim, owner.num_embeddings

    @property
    def stored(self) -> StoredForm:
        """Embedding that holds the form."""
        return self.owner

    def densified(self, weight: nn.Parameter) -> nn.Linear:
        """Return a plain output layer with the dense weight of its owner and this layer's bias."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight = weight
        if self.bias is not None:
            layer.bias = self.bias
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Describe the sizes."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}, tied"
