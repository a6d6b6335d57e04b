"""Operators on weights that a backend has packed: ``dsformer::packed_linear`` and ``dsformer::packed_embedding``.

Packed weights belong to their process and change with the weights. They can therefore be neither a tensor nor a
constant of a compiled graph. They are an opaque object that the graph takes as an input, which torch 2.13 can do. The
kernels are registered for the CPU. Exported graphs leave the process: they hold the stored weights and the operators of
``schemas.py``.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Before this release graphs cannot reliably detect that they are exported.
TRACEABLE = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)
"""Whether compiled graphs can hold packed weights."""

if TRACEABLE:
    from torch._library.opaque_object import get_opaque_type_name, register_opaque_type
    from torch._opaque_base import OpaqueBase
else:

    class OpaqueBase:  # type: ignore[no-redef]
        """Stand-in for torch's class of the same name, which this version of torch does not have."""


class PackedLinear(OpaqueBase):
    """Linear layers that read one input, packed for a backend."""

    @abstractmethod
    def run(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"] | None:
        """Compute a layer's output without gradients; None where the backend's kernels do not apply.

        Args:
            x: the input.
            member: the layer's index among those that read this input.
        """

    @abstractmethod
    def operate(self, x: Float[Tensor, "*batch in"], member: int) -> Float[Tensor, "*batch out"]:
        """Compute a layer's output by the operators, from the weights as they are stored.

        Arguments as of :meth:`run`.
        """


class PackedEmbedding(OpaqueBase):
    """An embedding table packed for a backend."""

    @abstractmethod
    def read(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"] | None:
        """Look up rows without gradients; None where the backend's kernels do not apply."""

    @abstractmethod
    def operate(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Look up rows by the operator, from the weights as they are stored."""


def packed_linear(
    x: Float[Tensor, "*batch in"], packed: PackedLinear, member: int, out_features: int
) -> Float[Tensor, "*batch out"]:
    """Compute the output of a packed layer, without gradients, as a node of a compiled graph.

    Args:
        x: the input.
        packed: the layer and those that share its input.
        member: the layer's index among them.
        out_features: length of the last dimension of the result.
    """
    return torch.ops.dsformer.packed_linear(x, packed, member, out_features)


def packed_embedding(
    ids: Int[Tensor, "*batch"], packed: PackedEmbedding, dim: int, dtype: torch.dtype
) -> Float[Tensor, "*batch dim"]:
    """Look up rows of a packed embedding, without gradients, as a node of a compiled graph.

    Args:
        ids: indices of the rows.
        packed: the table.
        dim: length of a row.
        dtype: of the rows.
    """
    return torch.ops.dsformer.packed_embedding(ids, packed, dim, dtype)


def _run(x: Tensor, packed: PackedLinear, member: int, out_features: int) -> Tensor:
    y = packed.run(x, member)
    return packed.operate(x, member) if y is None else y


def _read(ids: Tensor, packed: PackedEmbedding, dim: int, dtype: torch.dtype) -> Tensor:
    rows = packed.read(ids)
    return packed.operate(ids) if rows is None else rows


def _fake_run(x: Tensor, packed: PackedLinear, member: int, out_features: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], out_features))


def _fake_read(ids: Tensor, packed: PackedEmbedding, dim: int, dtype: torch.dtype) -> Tensor:
    return ids.new_empty((*ids.shape, dim), dtype=dtype)


if TRACEABLE:
    register_opaque_type(PackedLinear, typ="reference")
    register_opaque_type(PackedEmbedding, typ="reference")
    _LIBRARY = torch.library.Library("dsformer", "FRAGMENT")
    _LIBRARY.define(
        f"packed_linear(Tensor x, {get_opaque_type_name(PackedLinear)} packed, int member, int out_features) -> Tensor",
        tags=(torch.Tag.pt2_compliant_tag,),
    )
    _LIBRARY.define(
        f"packed_embedding(Tensor ids, {get_opaque_type_name(PackedEmbedding)} packed, int dim, ScalarType dtype) "
        "-> Tensor",
        tags=(torch.Tag.pt2_compliant_tag,),
    )
    torch.library.impl("dsformer::packed_linear", "cpu", _run, lib=_LIBRARY)
    torch.library.register_fake("dsformer::packed_linear", _fake_run, lib=_LIBRARY)
    torch.library.impl("dsformer::packed_embedding", "cpu", _read, lib=_LIBRARY)
    torch.library.register_fake("dsformer::packed_embedding", _fake_read, lib=_LIBRARY)
