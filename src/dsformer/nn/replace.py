"""Replacement of a model's layers by compressed modules, and of these by plain layers."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from dsformer.errors import ArtefactError, InputError
from dsformer.format.form import Form
from dsformer.format.quantized import QuantizedForm, quantize_form
from dsformer.format.schema import BlockConfig
from dsformer.nn.compressed import StoredForm
from dsformer.nn.embedding import DenseSparseEmbedding, TiedEmbedding, TiedHead
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.modules import is_linear, replace_modules
from dsformer.nn.resize import Part, match_row_parts, set_head_counts, widen_layer


def install(model: nn.Module, blocks: Sequence[BlockConfig]) -> None:
    """Replace the modules that the blocks name by empty compressed ones of the same device, type and bias.

    All blocks are checked against the model before the first module is replaced or anything is allocated.

    Raises:
        ArtefactError: a module is missing, of another class, or of another size.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for block in blocks:
        for member in block.members:
            _check_member(block, member.out_features, modules.get(member.name), member.name)
        for name in block.tied:
            _check_tied(block, modules.get(name), name)
    fresh = [block for block in blocks if block.heads and _is_full(block, modules)]
    replacements: dict[str, nn.Module] = {}
    parts = match_row_parts(blocks)
    for block in blocks:
        replacements |= _new_modules(block, modules, parts)
    by_module = {id(modules[name]): new for name, new in replacements.items()}
    for name, module in modules.items():
        # A module that is in the model under several names is replaced under all of them.
        new = replacements.get(name, by_module.get(id(module)))
        if new is not None:
            model.set_submodule(name, new)
    for block in fresh:
        set_head_counts(model, block.names[0], block.full_members[0], block.members[0].out_features)


def install_forms(
    model: nn.Module,
    blocks: Sequence[BlockConfig],
    forms: Sequence[Form | QuantizedForm],
    dtype: torch.dtype | None = None,
) -> None:
    """Replace the modules that the blocks name by compressed ones with the numbers of the forms.

    Args:
        model: changed in place.
        blocks: what to replace.
        forms: one for every block; that of a block of several modules is of their stacked weight.
        dtype: type of the stored values; None: that of the weights replaced.

    Raises:
        ArtefactError: as for :func:`install`.
        InputError: a form is not the one its block describes.
    """
    if len(blocks) != len(forms):
        raise InputError(f"{len(blocks)} blocks, but {len(forms)} forms")
    for block, form in zip(blocks, forms, strict=True):
        precision = form.precision if isinstance(form, QuantizedForm) else None
        if form.spec != block.spec() or precision != block.precision:
            raise InputError(f"{block.names[0]}: the form of {form.spec} is not that of the block")
    install(model, blocks)
    for block, form in zip(blocks, forms, strict=True):
        parts = form.split([member.out_features for member in block.members]) if len(block.members) > 1 else [form]
        for name, part in zip(block.names, parts, strict=True):
            module = model.get_submodule(name)
            assert isinstance(module, StoredForm), name
            if dtype is not None:
                module.to(dtype)
            module.fill(part)


def quantize_factors(
    model: nn.Module, blocks: Sequence[BlockConfig], rounder: Callable[[BlockConfig, Form], QuantizedForm] | None = None
) -> list[BlockConfig]:
    """Replace every compressed module that the blocks name by one with quantized factors.

    Args:
        model: changed in place.
        blocks: what to quantize.
        rounder: quantizes the form of a block; None: to int8, rounding to nearest.

    Returns:
        The descriptions of the quantized blocks.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    rounded = []
    rows = match_row_parts(blocks)
    for block in blocks:
        stored = [model.get_submodule(name) for name in block.names]
        forms = [module.form() for module in stored if isinstance(module, StoredForm)]
        assert len(forms) == len(stored), block.names
        joined = Form.joined(forms)
        whole = quantize_form(joined) if rounder is None else rounder(block, joined)
        parts = whole.split([member.out_features for member in block.members])
        rounded.append(block.rounded(whole.precision))
        new = _new_modules(rounded[-1], modules, rows)
        for name, module in new.items():
            model.set_submodule(name, module)
        for name, part in zip(block.names, parts, strict=True):
            new[name].fill(part)  # type: ignore[operator]
    return rounded


def read_forms(model: nn.Module) -> dict[str, Form]:
    """Return the form of every compressed module by name; members of a block share their dictionary tensor."""
    return {name: module.form() for name, module in model.named_modules() if isinstance(module, StoredForm)}


def densify(model: nn.Module) -> None:
    """Replace every compressed module by a plain one with the dense weight. Tied modules stay tied."""
    modules = dict(model.named_modules(remove_duplicate=False))
    dense: dict[nn.Module, nn.Module] = {}
    for module in modules.values():
        if isinstance(module, (DenseSparseLinear, DenseSparseEmbedding)):
            dense[module] = _full(module)
    # Each under its first name only: a layer may be used many times.
    counting = {name: module for name, module in model.named_modules() if getattr(module, "counts_heads", False)}
    for module in modules.values():
        if isinstance(module, (TiedEmbedding, TiedHead)):
            dense[module] = module.densified(dense[module.owner].weight)  # type: ignore[arg-type]
    replace_modules(model, dense)
    for name, module in counting.items():
        set_head_counts(model, name, module.out_features, module.replaces[0])


def _full(module: DenseSparseLinear | DenseSparseEmbedding) -> nn.Module:
    """Return the plain module of a compressed one, in the size that the original model's layer has."""
    if isinstance(module, DenseSparseLinear) and module.replaces is not None:
        return widen_layer(module.densified(), module.parts, module.replaces[1])
    return module.densified()


def _is_full(block: BlockConfig, modules: dict[str, nn.Module]) -> bool:
    """Return whether a block's modules have the original sizes, rather than being narrower already."""
    return all(_size(modules[name])[0] == full for name, full in zip(block.names, block.full_members, strict=True))


def _check_member(block: BlockConfig, out_features: int, module: nn.Module | None, name: str) -> None:
    found: tuple[int, int] | None = None
    if (block.kind == "linear" and is_linear(module)) or (block.kind == "conv1d" and type(module) is Conv1D):
        found = _size(module)
    elif block.kind == "embedding" and type(module) is nn.Embedding:
        if module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
            raise ArtefactError(f"{name}: an embedding with max_norm, scale_grad_by_freq or sparse is not supported")
        found = (module.num_embeddings, module.embedding_dim)
    if found is None:
        raise ArtefactError(f"{name}: the model has {_described(module)}, the artefact a compressed {block.kind} layer")
    position = block.names.index(name)
    if found not in ((block.full_members[position], block.full_inputs), (out_features, block.in_features)):
        stored = (out_features, block.in_features)
        raise ArtefactError(f"{name}: the model's layer is {found} (out, in), the artefact's {stored}")


def _size(module: nn.Module | None) -> tuple[int, int]:
    """Return the (output features, inputs) of a linear layer."""
    if isinstance(module, Conv1D):
        return module.nf, module.nx
    assert isinstance(module, (nn.Linear, DenseSparseLinear)), type(module)
    return module.out_features, module.in_features


def _check_tied(block: BlockConfig, module: nn.Module | None, name: str) -> None:
    size = (block.members[0].out_features, block.in_features)
    if type(module) is nn.Embedding:
        found = (module.num_embeddings, module.embedding_dim)
    elif isinstance(module, nn.Linear) and is_linear(module):
        found = (module.out_features, module.in_features)
    else:
        raise ArtefactError(f"{name}: {_described(module)} cannot be tied to a compressed embedding")
    if found != size:
        raise ArtefactError(f"{name}: is {found}, the embedding it is tied to {size}")


def _described(module: nn.Module | None) -> str:
    return "no such module" if module is None else f"a {type(module).__name__}"


def _new_modules(
    block: BlockConfig, modules: dict[str, nn.Module], parts: Mapping[str, list[Part]]
) -> dict[str, nn.Module]:
    """Return the modules, without numbers, that replace those of a block.

    Those in the model may be dense, or compressed with another precision.
    """
    return _new_embedding(block, modules) if block.kind == "embedding" else _new_linear(block, modules, parts)


def _new_linear(
    block: BlockConfig, modules: dict[str, nn.Module], parts: Mapping[str, list[Part]]
) -> dict[str, nn.Module]:
    new: dict[str, nn.Module] = {}
    owner: DenseSparseLinear | None = None
    starts = {members[0].name for members in block.readers}
    lead: DenseSparseLinear | None = None
    for name, spec, rows in zip(block.names, block.member_specs(), block.full_members, strict=True):
        old = modules[name]
        assert isinstance(old, (nn.Linear, Conv1D, DenseSparseLinear)), name
        place = (old.weight.device, old.weight.dtype)
        lead = None if name in starts else lead
        layer = DenseSparseLinear(spec, False, lead, block.kind == "conv1d", *place, block.precision, owner)
        if old.bias is None or len(old.bias) == spec.out_features:
            layer.bias = old.bias  # the same tensor: it may be tied to others
        else:
            layer.bias = nn.Parameter(old.bias.new_empty(spec.out_features))
        if (rows, block.full_inputs) != (spec.out_features, spec.in_features):
            layer.replaces = (rows, block.full_inputs)
            layer.parts = parts.get(name, [(rows, rows)])
            layer.counts_heads = block.heads and lead is None
        new[name] = layer.train(old.training)
        lead, owner = lead or layer, owner or layer
    return new


def _new_embedding(block: BlockConfig, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    name = block.names[0]
    old = modules[name]
    assert isinstance(old, (nn.Embedding, DenseSparseEmbedding)), name
    place = (old.weight.device, old.weight.dtype)
    owner = DenseSparseEmbedding(block.spec(), old.padding_idx, *place, precision=block.precision)
    new: dict[str, nn.Module] = {}
    for tied in block.tied:
        module = modules[tied]
        head = isinstance(module, (nn.Linear, TiedHead))
        reader = TiedHead(owner, module.bias) if head else TiedEmbedding(owner)  # type: ignore[arg-type]
        new[tied] = reader.train(module.training)
    return {**new, name: owner.train(old.training)}
