"""Reference operators in plain PyTorch: the specification that every other backend is tested against.

All tensors here are two-dimensional, one row a token. ``codes`` are the sparse factor as a dense matrix, one row a
unit, one column a position. The positions are the ``atoms`` learned atoms, then (if canonical) the unit vectors.

There are two ways to multiply with codes. *Written out*: the codes become a dense matrix, then one product follows. For
free supports this is the fastest that PyTorch has to offer: its own sparse products are 3 to 10 times slower.
*Gathered*: the positions that each group of units reads are gathered, then one batched product follows. This needs
grouped supports. It saves multiply-adds, but every gathered number costs as much as many of them, so that it pays only
for large groups with few non-zeros; ``gathered_cost`` has the rule.

Cost, measured with ``benchmarks/reference_cost.py`` (fp32, 2.8x, one AVX-512 core; time of a dense layer / time of the
operator, medians; the same for free and grouped(8)): 0.65 at 16 tokens, 1.2 to 1.4 at 128, 1.6 at 1024, for 1152x384,
1536x384 and 384x1536. At few tokens, writing out the codes is what costs. Layers keep the written-out codes in
evaluation mode, and are then 1.5 to 1.8 times as fast as dense ones at any number of tokens.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

# Tokens gathered at a time, so that the input of a batched product is still in cache.
_GATHERED_TOKENS = 128

# Tokens with a smaller range of activations are quantized to zero.
SMALLEST_RANGE = 1e-30

# Costs in multiply-adds of a large matrix product, measured with benchmarks/reference_cost.py on one AVX-512 core: a
# multiply-add of a batched product, gathering one number, scatter-adding one, transposing one.
BATCHED, GATHER, SCATTER, MOVE = 2, 15, 40, 40


def gathered_cost(units: int, groups: int, nonzeros: int, core: int, positions: int, output: bool) -> int:
    """Return the cost in multiply-adds of multiplying one token with gathered codes.

    Written-out codes cost ``units * positions``.

    Args:
        units: rows of the codes.
        groups: rows of the indices.
        nonzeros: selected candidates of a group.
        core: atoms that every unit uses.
        positions: columns of the codes.
        output: the dictionary is an output one, so that products are scattered instead of inputs gathered.
    """
    products = units * (core + BATCHED * nonzeros)
    return products + (SCATTER if output else GATHER) * groups * nonzeros + MOVE * (units + positions)


def dense_codes(
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
    positions: int,
) -> Float[Tensor, "units positions"]:
    """Return the codes written out as a dense matrix, in the order of the weight's units.

    Args:
        values: core values of every unit, then its selected ones.
        indices: selected candidates of every group, ascending.
        permutation: the unit of the weight that each code describes; None: code i describes unit i.
        core: atoms that every unit uses.
        group: units that share one row of indices.
        positions: columns of the result.
    """
    if core == positions and permutation is None:
        return values
    dense = values.new_zeros(values.shape[0], positions)
    dense[:, :core] = values[:, :core]
    columns = core + indices.long().repeat_interleave(group, 0)
    dense.scatter_(1, columns, values[:, core:])
    if permutation is None:
        return dense
    return torch.empty_like(dense).index_copy_(0, permutation.long(), dense)


def positions_of(
    product: Float[Tensor, "tokens atoms"] | None, x: Float[Tensor, "tokens width"] | None
) -> Float[Tensor, "tokens positions"]:
    """Return the matrix that codes are multiplied with: the products with the atoms, then those with the unit vectors.

    Not both may be None.
    """
    parts = [part for part in (product, x) if part is not None]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def linear_input(
    product: Float[Tensor, "tokens atoms"] | None,
    x: Float[Tensor, "tokens in"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    bias: Float[Tensor, " units"] | None,
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
) -> Float[Tensor, "tokens units"]:
    """Compute ``y = S z``, where ``z`` is the product ``D x``, then (canonical atoms) ``x``, as far as they are given.

    Args:
        product: ``D x``; None without learned atoms.
        x: the input; None without canonical atoms.
        values: core values of every unit, then its selected ones.
        indices: selected candidates of every group, ascending.
        bias: is added to the result.
        permutation: the unit of the weight that each code describes; None: code i describes unit i.
        core: atoms that every unit uses.
        group: units that share one row of indices.
    """
    atoms, width = (0 if part is None else part.shape[1] for part in (product, x))
    if _gathers(values, indices, core, group, atoms + width, False):
        return _grouped_input(positions_of(product, x), values, indices, bias, permutation, core, group)
    codes = dense_codes(values, indices, permutation, core, group, atoms + width)
    y = linear(product, codes[:, :atoms], bias) if product is not None else None
    if x is None:
        assert y is not None, "neither a product nor an input"
        return y
    return linear(x, codes, bias) if y is None else y + linear(x, codes[:, atoms:])


def linear_output(
    x: Float[Tensor, "tokens units"],
    dictionary: Float[Tensor, "out atoms"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    bias: Float[Tensor, " out"] | None,
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
    canonical: bool,
    out_features: int,
) -> Float[Tensor, "tokens out"]:
    """Compute ``y = D u[:atoms] + u[atoms:]`` with ``u = S x``; without the second term when not canonical.

    Arguments as of :func:`dsformer.ops.schemas.dense_sparse_linear`.
    """
    atoms = 0 if dictionary is None else dictionary.shape[1]
    positions = atoms + (out_features if canonical else 0)
    if _gathers(values, indices, core, group, positions, True):
        u = _grouped_output(x, values, indices, permutation, core, group, positions)
    else:
        u = x @ dense_codes(values, indices, permutation, core, group, positions)
    if dictionary is None:
        return u if bias is None else u + bias
    y = linear(u[:, :atoms], dictionary, bias)
    return y + u[:, atoms:] if canonical else y


def round_tokens(x: Float[Tensor, "tokens features"]) -> Float[Tensor, "tokens features"]:
    """Quantize the input as products with int8 weights do: every token to the nearest of 256 numbers, zero among them.

    The gradient is passed straight through.
    """
    with torch.no_grad():
        wide = x.float()
        low, high = wide.amin(1, keepdim=True).clamp_max(0), wide.amax(1, keepdim=True).clamp_min(0)
        reach = high - low
        steps = torch.where(reach > SMALLEST_RANGE, 255 / reach, torch.zeros_like(reach))
        zero = (-low * steps).round()
        rounded = ((wide * steps + zero).round().clamp(0, 255) - zero) * (reach / 255)
    return x + (rounded.to(x.dtype) - x).detach()


def linear_bytes(
    x: Float[Tensor, "tokens in"],
    dictionary: Float[Tensor, "atoms width"] | Float[Tensor, "width atoms"] | None,
    codes: Float[Tensor, "units positions"],
    bias: Float[Tensor, " out"] | None,
    canonical: bool,
    output_dictionary: bool,
) -> Float[Tensor, "tokens out"]:
    """Compute a layer with int8 weights from the numbers they stand for. What is multiplied with them is quantized too.

    Args:
        x: the input.
        dictionary: None without learned atoms.
        codes: the codes written out.
        bias: is added to the result.
        canonical: unit vectors are among the candidates.
        output_dictionary: units are input columns, not output rows.
    """
    x = round_tokens(x)
    if output_dictionary:
        u = x @ codes
        atoms = 0 if dictionary is None else dictionary.shape[1]
        rest = u[:, atoms:] if canonical or dictionary is None else None
        product = None if dictionary is None else linear(round_tokens(u[:, :atoms]), dictionary)
    else:
        atoms = 0 if dictionary is None else dictionary.shape[0]
        rest = linear(x, codes[:, atoms:]) if canonical or dictionary is None else None
        product = None if dictionary is None else linear(round_tokens(linear(x, dictionary)), codes[:, :atoms])
    y = rest if product is None else product if rest is None else product + rest
    assert y is not None, "neither atoms nor unit vectors"
    return y if bias is None else y + bias


def embedding(
    rows: Int[Tensor, " tokens"],
    dictionary: Float[Tensor, "atoms dim"] | None,
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    core: int,
    group: int,
    canonical: bool,
    dim: int,
) -> Float[Tensor, "tokens dim"]:
    """Compute rows of an embedding: only the codes that are looked up are written out.

    Args:
        rows: indices of the codes.
        dictionary: None without learned atoms.
        values: core values of every unit, then its selected ones.
        indices: selected candidates of every group, ascending.
        core: atoms that every unit uses.
        group: units that share one row of indices.
        canonical: unit vectors are among the candidates.
        dim: length of a row.
    """
    atoms = 0 if dictionary is None else dictionary.shape[0]
    looked_up = indices.index_select(0, rows // group)
    codes = dense_codes(values.index_select(0, rows), looked_up, None, core, 1, atoms + (dim if canonical else 0))
    if dictionary is None:
        return codes
    mixed = codes[:, :atoms] @ dictionary
    return mixed + codes[:, atoms:] if canonical else mixed


def _gathers(
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    core: int,
    group: int,
    positions: int,
    output: bool,
) -> bool:
    units, (groups, nonzeros) = values.shape[0], indices.shape
    if group == 1 or nonzeros == 0:
        return False
    return gathered_cost(units, groups, nonzeros, core, positions, output) < units * positions


def _grouped_input(
    z: Float[Tensor, "tokens positions"],
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    bias: Float[Tensor, " units"] | None,
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
) -> Float[Tensor, "tokens units"]:
    units, (groups, nonzeros) = values.shape[0], indices.shape
    read = (core + indices).reshape(-1)
    selected = values[:, core:].reshape(groups, group, nonzeros)
    out = z.new_empty(z.shape[0], units)
    for start in range(0, z.shape[0], _GATHERED_TOKENS):
        # One row a position, so that gathering a row is one contiguous copy.
        zt = z[start : start + _GATHERED_TOKENS].t().contiguous()
        tokens = zt.shape[1]
        y = torch.bmm(selected, zt.index_select(0, read).view(groups, nonzeros, tokens)).view(units, tokens)
        if core:
            y = torch.addmm(y, values[:, :core], zt[:core])
        if permutation is not None:
            y = torch.empty_like(y).index_copy_(0, permutation.long(), y)
        out[start : start + tokens] = y.t()
    return out if bias is None else out.add_(bias)


def _grouped_output(
    x: Float[Tensor, "tokens units"],
    values: Float[Tensor, "units kept"],
    indices: Int[Tensor, "groups nonzeros"],
    permutation: Int[Tensor, " units"] | None,
    core: int,
    group: int,
    positions: int,
) -> Float[Tensor, "tokens positions"]:
    groups, nonzeros = indices.shape
    written = (core + indices).reshape(-1)
    selected = values[:, core:].reshape(groups, group, nonzeros).transpose(1, 2)
    out = x.new_empty(x.shape[0], positions)
    for start in range(0, x.shape[0], _GATHERED_TOKENS):
        xt = x[start : start + _GATHERED_TOKENS].t()
        xt = xt.contiguous() if permutation is None else xt.index_select(0, permutation.long())
        tokens = xt.shape[1]
        products = torch.bmm(selected, xt.view(groups, group, tokens)).view(-1, tokens)
        u = x.new_zeros(positions, tokens).index_add_(0, written, products)
        if core:
            u[:core] = values[:, :core].t() @ xt
        out[start : start + tokens] = u.t()
    return out
