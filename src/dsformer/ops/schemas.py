"""Custom operators of PyTorch: schemas, default kernels, shapes for tracing, gradients.

``dsformer::dense_sparse_linear``
    a whole layer, for both orientations.
``dsformer::dense_sparse_codes``
    the codes' part of an input-dictionary layer, where the product with the dictionary is known already. It is for all
    but the first of several layers that share a dictionary.
``dsformer::dense_sparse_embedding``
    a lookup.

Argument conventions. ``values`` (units, core + nonzeros) and ``indices`` (groups, nonzeros), int32 or int64, are those
of ``format.form.Form``. ``permutation`` (units,) of any integer type says which unit code i describes. The leading
dimensions of the input are free and may be empty. A backend registers faster kernels for a device with
``torch.library.impl("dsformer::...", "cpu")``; the default ones run anywhere.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from dsformer.ops import autograd as gradients
from dsformer.ops import reference

_LIBRARY = torch.library.Library("dsformer", "FRAGMENT")

_LIBRARY.define(
    "dense_sparse_linear(Tensor x, Tensor? dictionary, Tensor values, Tensor indices, Tensor? bias, "
    "Tensor? permutation, int core, int group, bool canonical, bool output_dictionary, int out_features) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "dense_sparse_codes(Tensor product, Tensor? x, Tensor values, Tensor indices, Tensor? bias, "
    "Tensor? permutation, int core, int group) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "dense_sparse_embedding(Tensor ids, Tensor? dictionary, Tensor values, Tensor indices, Tensor? code_of, "
    "int core, int group, bool canonical, int dim, int padding_idx) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def dense_sparse_linear(
    x: Tensor,
    dictionary: Tensor | None,
    values: Tensor,
    indices: Tensor,
    bias: Tensor | None,
    permutation: Tensor | None,
    core: int,
    group: int,
    canonical: bool,
    output_dictionary: bool,
    out_features: int,
) -> Tensor:
    """Compute ``x W^T + bias`` (..., out_features) for the weight of a form.

    Args:
        x: (..., in).
        dictionary: (atoms, in), or (out, atoms) with ``output_dictionary``; None without learned atoms.
        values: (units, core + nonzeros).
        indices: (groups, nonzeros).
        bias: (out,); None without.
        permutation: (units,); None: code i describes unit i.
        core: atoms that every unit uses.
        group: units that share one row of indices.
        canonical: unit vectors are among the candidates.
        output_dictionary: units are input columns, not output rows.
        out_features: length of the last dimension of the result.
    """
    return torch.ops.dsformer.dense_sparse_linear(
        x, dictionary, values, indices, bias, permutation, core, group, canonical, output_dictionary, out_features
    )


def dense_sparse_codes(
    product: Tensor,
    x: Tensor | None,
    values: Tensor,
    indices: Tensor,
    bias: Tensor | None,
    permutation: Tensor | None,
    core: int,
    group: int,
) -> Tensor:
    """Compute ``S [product; x] + bias`` (..., units): the rest of an input-dictionary layer after ``product = D x``.

    Args:
        product: (..., atoms).
        x: (..., in) when canonical atoms are among the candidates, else None.
        values: (units, core + nonzeros).
        indices: (groups, nonzeros).
        bias: (units,); None without.
        permutation: (units,); None: code i describes unit i.
        core: atoms that every unit uses.
        group: units that share one row of indices.
    """
    return torch.ops.dsformer.dense_sparse_codes(product, x, values, indices, bias, permutation, core, group)


def dense_sparse_embedding(
    ids: Tensor,
    dictionary: Tensor | None,
    values: Tensor,
    indices: Tensor,
    code_of: Tensor | None,
    core: int,
    group: int,
    canonical: bool,
    dim: int,
    padding_idx: int,
) -> Tensor:
    """Look up rows (..., dim) of the embedding of a form.

    Args:
        ids: (...), integers in ``0 .. units - 1``.
        dictionary: (atoms, dim); None without learned atoms.
        values: (units, core + nonzeros).
        indices: (groups, nonzeros).
        code_of: (units,) the code that describes each row; None: code i describes row i.
        core: atoms that every unit uses.
        group: units that share one row of indices.
        canonical: unit vectors are among the candidates.
        dim: length of a row.
        padding_idx: the row that gets no gradient; -1: none.
    """
    return torch.ops.dsformer.dense_sparse_embedding(
        ids, dictionary, values, indices, code_of, core, group, canonical, dim, padding_idx
    )


def _without_autocast(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run a kernel without autocast.

    Kernels compute in the types of their arguments, and under autocast the caller has already cast them.
    """

    @functools.wraps(kernel)
    def wrapped(first: Tensor, *rest: Any) -> Tensor:
        if not torch.is_autocast_enabled(first.device.type):
            return kernel(first, *rest)
        with torch.autocast(first.device.type, enabled=False):
            return kernel(first, *rest)

    return wrapped


@_without_autocast
def _linear(
    x, dictionary, values, indices, bias, permutation, core, group, canonical, output_dictionary, out_features
) -> Tensor:
    rows = _rows(x)
    if output_dictionary:
        y = reference.linear_output(
            rows, dictionary, values, indices, bias, permutation, core, group, canonical, out_features
        )
    else:
        product = None if dictionary is None else linear(rows, dictionary)
        z = rows if canonical else None
        y = reference.linear_input(product, z, values, indices, bias, permutation, core, group)
    return y.view(*x.shape[:-1], out_features)


@_without_autocast
def _codes(product, x, values, indices, bias, permutation, core, group) -> Tensor:
    z = None if x is None else _rows(x)
    y = reference.linear_input(_rows(product), z, values, indices, bias, permutation, core, group)
    return y.view(*product.shape[:-1], values.shape[0])


@_without_autocast
def _embedding(ids, dictionary, values, indices, code_of, core, group, canonical, dim, padding_idx) -> Tensor:
    rows = _code_rows(ids, code_of)
    y = reference.embedding(rows, dictionary, values, indices, core, group, canonical, dim)
    return y.view(*ids.shape, dim)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _code_rows(ids: Tensor, code_of: Tensor | None) -> Tensor:
    flat = ids.reshape(-1)
    return flat if code_of is None else code_of.index_select(0, flat)


def _fake_linear(
    x, dictionary, values, indices, bias, permutation, core, group, canonical, output_dictionary, out_features
) -> Tensor:
    return x.new_empty(*x.shape[:-1], out_features)


def _fake_codes(product, x, values, indices, bias, permutation, core, group) -> Tensor:
    return product.new_empty(*product.shape[:-1], values.shape[0])


def _fake_embedding(ids, dictionary, values, indices, code_of, core, group, canonical, dim, padding_idx) -> Tensor:
    return values.new_empty(*ids.shape, dim)


def _save_linear(ctx, inputs, output) -> None:
    x, dictionary, values, indices, bias, permutation, *ctx.settings, _ = inputs
    ctx.save_for_backward(x, dictionary, values, indices, permutation)
    ctx.has_bias = bias is not None


def _linear_backward(ctx, dy):
    x, dictionary, values, indices, permutation = ctx.saved_tensors
    core, group, canonical, output_dictionary = ctx.settings
    formula = gradients.linear_output_gradients if output_dictionary else gradients.linear_input_gradients
    dy_rows = _rows(dy)
    dx, *dweights = formula(dy_rows, _rows(x), dictionary, values, indices, permutation, core, group, canonical)
    dbias = dy_rows.sum(0) if ctx.has_bias else None
    return dx.view(x.shape), *dweights, None, dbias, *[None] * 6


def _save_codes(ctx, inputs, output) -> None:
    product, x, values, indices, bias, permutation, *ctx.settings = inputs
    ctx.save_for_backward(product, x, values, indices, permutation)
    ctx.has_bias = bias is not None


def _codes_backward(ctx, dy):
    product, x, values, indices, permutation = ctx.saved_tensors
    dy_rows = _rows(dy)
    z = None if x is None else _rows(x)
    dz, dvalues = gradients.codes_gradients(dy_rows, _rows(product), z, values, indices, permutation, *ctx.settings)
    atoms = product.shape[-1]
    dproduct = dz[:, :atoms].reshape(product.shape)
    dx = None if x is None else dz[:, atoms:].reshape(x.shape)
    dbias = dy_rows.sum(0) if ctx.has_bias else None
    return dproduct, dx, dvalues, None, dbias, None, None, None


def _save_embedding(ctx, inputs, output) -> None:
    ids, dictionary, values, indices, code_of, *ctx.settings, _, ctx.padding_idx = inputs
    ctx.save_for_backward(ids, dictionary, values, indices, code_of)


def _embedding_backward(ctx, dy):
    ids, dictionary, values, indices, code_of = ctx.saved_tensors
    if ctx.padding_idx >= 0:
        dy = dy * (ids != ctx.padding_idx).unsqueeze(-1)
    ddictionary, dvalues = gradients.embedding_gradients(
        _rows(dy), _code_rows(ids, code_of), dictionary, values, indices, *ctx.settings
    )
    return None, ddictionary, dvalues, *[None] * 7


def _register(name: str, kernel, fake, save, backward) -> None:
    torch.library.impl(f"dsformer::{name}", "default", kernel, lib=_LIBRARY)
    torch.library.register_fake(f"dsformer::{name}", fake, lib=_LIBRARY)
    torch.library.register_autograd(f"dsformer::{name}", backward, setup_context=save, lib=_LIBRARY)


_register("dense_sparse_linear", _linear, _fake_linear, _save_linear, _linear_backward)
_register("dense_sparse_codes", _codes, _fake_codes, _save_codes, _codes_backward)
_register("dense_sparse_embedding", _embedding, _fake_embedding, _save_embedding, _embedding_backward)
