"""Gradients of the operators, in plain PyTorch.

Whatever the pattern, they write the codes out as a dense matrix, multiply dense matrices and gather the stored entries.
All tensors are two-dimensional, one row a token.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from dsformer.ops.reference import dense_codes, positions_of

Gradients = tuple[Tensor, Tensor | None, Tensor]


def stored_entries(
    dense: Float[Tensor, "units positions"], indices: Int[Tensor, "groups nonzeros"], core: int, group: int
) -> Float[Tensor, "units kept"]:
    """Return the entries of a dense matrix of codes that a form stores: the inverse of writing codes out.

    Args:
        dense: the codes, in the order of the form.
        indices: selected candidates of every group.
        core: atoms that every unit uses.
        group: units that share one row of indices.
    """
    columns = core + indices.long().repeat_interleave(group, 0)
    return torch.cat([dense[:, :core], dense.gather(1, columns)], 1)


def codes_gradients(
    dy: Float[Tensor, "tokens units"],
    product: Float[Tensor, "tokens atoms"] | None,
    x: Float[Tensor, "tokens in"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
) -> tuple[Float[Tensor, "tokens positions"], Float[Tensor, "units kept"]]:
    """Compute the gradients of ``S z`` by ``z`` and by the values.

    ``z`` is the product, then ``x``, as far as they are given. ``dy`` is the gradient of the output; the other
    arguments as of :func:`dsformer.ops.reference.linear_input`.
    """
    z = positions_of(product, x)
    if permutation is not None:
        dy = dy.index_select(1, permutation.long())
    codes = dense_codes(values, indices, None, core, group, z.shape[1])
    return dy @ codes, stored_entries(dy.t() @ z, indices, core, group)


def linear_input_gradients(
    dy: Float[Tensor, "tokens units"],
    x: Float[Tensor, "tokens in"],
    dictionary: Float[Tensor, "atoms in"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
    canonical: bool,
) -> Gradients:
    """Compute the gradients of ``S [D x; x]`` by ``x``, by the dictionary (None without one) and by the values.

    ``dy`` is the gradient of the output; the other arguments as of :func:`dsformer.ops.schemas.dense_sparse_linear`.
    """
    product = None if dictionary is None else linear(x, dictionary)
    dz, dvalues = codes_gradients(dy, product, x if canonical else None, values, indices, permutation, core, group)
    if dictionary is None:
        return dz, None, dvalues
    dproduct = dz[:, : dictionary.shape[0]]
    dx = dproduct @ dictionary
    if canonical:
        dx = dx + dz[:, dictionary.shape[0] :]
    return dx, dproduct.t() @ x, dvalues


def linear_output_gradients(
    dy: Float[Tensor, "tokens out"],
    x: Float[Tensor, "tokens units"],
    dictionary: Float[Tensor, "out atoms"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
    canonical: bool,
) -> Gradients:
    """Compute the gradients of ``[D, I] S x`` by ``x``, by the dictionary (None without one) and by the values.

    ``dy`` is the gradient of the output; the other arguments as of :func:`dsformer.ops.schemas.dense_sparse_linear`.
    """
    du = positions_of(None if dictionary is None else dy @ dictionary, dy if canonical else None)
    codes = dense_codes(values, indices, permutation, core, group, du.shape[1])
    dx = du @ codes.t()
    dcodes = x.t() @ du
    if permutation is not None:
        dcodes = dcodes.index_select(0, permutation.long())
    dvalues = stored_entries(dcodes, indices, core, group)
    if dictionary is None:
        return dx, None, dvalues
    return dx, dy.t() @ (x @ codes[:, : dictionary.shape[1]]), dvalues


def embedding_gradients(
    dy: Float[Tensor, "tokens dim"],
    rows: Int[Tensor, " tokens"],
    dictionary: Float[Tensor, "atoms dim"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    core: int,
    group: int,
    canonical: bool,
) -> tuple[Tensor | None, Tensor]:
    """Compute the gradients of a lookup by the dictionary (None without one) and by the values.

    ``dy`` is the gradient of the output; the other arguments as of :func:`dsformer.ops.reference.embedding`.
    """
    looked_up = indices.index_select(0, rows // group)
    dcodes = positions_of(None if dictionary is None else dy @ dictionary.t(), dy if canonical else None)
    dvalues = torch.zeros_like(values).index_add_(0, rows, stored_entries(dcodes, looked_up, core, 1))
    if dictionary is None:
        return None, dvalues
    codes = dense_codes(values.index_select(0, rows), looked_up, None, core, 1, dcodes.shape[1])
    return codes[:, : dictionary.shape[0]].t() @ dy, dvalues
