"""Expected tensors: whether the blocks and tensors of an artefact fit a model class, by names, types and shapes."""

import re
from collections.abc import Iterator, Mapping, Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dsformer.errors import ArtefactError
from dsformer.format.schema import BlockConfig
from dsformer.models.checkpoint import Header, check_tensor, check_type, find
from dsformer.nn.compressed import StoredForm
from dsformer.nn.parameters import INTEGERS

_TENSORS = ("weight", "dictionary", *INTEGERS)
# Tensors that files of older versions hold and models now compute; transformers ignores them in the same way.
_MADE_ANEW = {"rotary_emb.inv_freq": r"rotary_emb\.inv_freq", "position_ids": r"(^|\.)position_ids$"}


def resolve_blocks(
    model: nn.Module,
    blocks: Sequence[BlockConfig],
    headers: Mapping[str, Header] | None = None,
    whole: bool = False,
) -> list[BlockConfig]:
    """Return the blocks under the names their modules have in this model.

    A base model loaded from the checkpoint of a model with a head has no prefix, and vice versa. Blocks of which this
    model has no module (those of a head it lacks) are left out, and so are tied modules that it lacks.

    Args:
        model: the model; its modules may be compressed or not.
        blocks: the blocks of the artefact.
        headers: headers of the stored tensors, if known; blocks that are left out must be among them.
        whole: the model is of the class that was saved, and must have every block.

    Raises:
        ArtefactError: the model has only a part of a block, or nothing of any block; or a block belongs to no model.
    """
    prefix = getattr(model, "base_model_prefix", "")
    present = {name for name, _ in model.named_modules(remove_duplicate=False)}

    def actual(name: str) -> str | None:
        candidates = (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}")
        return next((candidate for candidate in candidates if candidate in present), None)

    result = []
    for block in blocks:
        names = [actual(name) for name in block.names]
        tied = [actual(name) for name in block.tied]
        absent = [name for name, found in zip((*block.names, *block.tied), (*names, *tied), strict=True) if not found]
        if all(name is None for name in names) and not whole:
            if headers and (unknown := [name for name in block.names if f"{name}.weight" not in headers]):
                raise ArtefactError(f"{unknown[0]}: neither the model nor the weights have such a module")
            continue
        if None in names or (absent and whole):
            raise ArtefactError(f"{absent[0]}: the model has no such module")
        members = [member.model_copy(update={"name": name}) for member, name in zip(block.members, names, strict=True)]
        result.append(block.model_copy(update={"members": members, "tied": [name for name in tied if name]}))
    if blocks and not result:
        raise ArtefactError(f"{blocks[0].names[0]}: the model has no such module, nor any other compressed one")
    return result


def stored_modules(model: nn.Module) -> Iterator[tuple[str, StoredForm]]:
    """Iterate over the compressed modules of a model and their names."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, StoredForm))


def check_stored(model: PreTrainedModel, headers: Mapping[str, Header], whole: bool) -> None:
    """Check that the stored tensors are those of the model, whose compressed modules are installed.

    Args:
        model: the model; it may be on the meta device.
        headers: headers of the stored tensors.
        whole: the model is of the class that was saved: all of its tensors must be stored, and no others. Otherwise a
            head may be new, or left out.

    Raises:
        ArtefactError: a tensor has another type or shape, is missing or superfluous, belongs to a layer that the
            configuration does not have, or is compressed in a way that the configuration does not say.
    """
    prefix = model.base_model_prefix
    for name, module in model.named_modules():
        if isinstance(module, StoredForm):
            own = module.state_dict()
            for key in (*_TENSORS, "bias"):
                header = find(headers, f"{name}.{key}", prefix)
                if header is not None and key not in own:
                    raise ArtefactError(f"{name}.{key}: stored, but quantization_config says that there is none")
                if header is not None:
                    check_tensor(f"{name}.{key}", header, own[key])
        elif isinstance(module, (nn.Linear, nn.Embedding, Conv1D)):
            stored = {key: find(headers, f"{name}.{key}", prefix) for key in _TENSORS}
            weight = stored.pop("weight")
            # Not every version of transformers refuses a tensor of another shape.
            if any(stored.values()) or (weight is not None and len(weight.shape) != 2):
                raise ArtefactError(f"{name}: stored compressed, but quantization_config does not mention it")
    for name, tensor in model.state_dict().items():
        header = find(headers, name, prefix)
        if header is not None and tensor.is_floating_point():
            check_type(name, header, tensor)
    _check_layers(model, headers)
    if whole:
        _check_all(model, headers)


def _check_layers(model: PreTrainedModel, headers: Mapping[str, Header]) -> None:
    """Check that no list of layers is shorter than the stored one.

    Raises:
        ArtefactError: a layer is stored that the model does not have.
    """
    prefix = model.base_model_prefix
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            lists |= dict.fromkeys((name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"), module)
    for stored in headers:
        for number in re.finditer(r"\.(\d+)(?=\.)", stored):
            layers = lists.get(stored[: number.start()])
            if layers is not None and int(number[1]) >= len(layers):
                where = stored[: number.start()]
                raise ArtefactError(f"{stored} is in the weights, but the model has only {len(layers)} {where}")


def _check_all(model: PreTrainedModel, headers: Mapping[str, Header]) -> None:
    """Check that the stored tensors are all tensors of the model, and no others.

    Raises:
        ArtefactError: a tensor is missing or superfluous.
    """
    optional = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    known: set[str] = set()
    for group in _grouped(model):
        known.update(group)
        stored = any(name in headers for name in group)
        if not stored and not any(pattern.search(name) for pattern in optional for name in group):
            raise ArtefactError(f"{min(group)} is not in the weights")
    buffers = [name for name, _ in model.named_buffers()]
    ignored = [*(model._keys_to_ignore_on_load_unexpected or ())]
    ignored += [pattern for end, pattern in _MADE_ANEW.items() if any(name.endswith(end) for name in buffers)]
    extra = [name for name in headers if name not in known and not any(re.search(one, name) for one in ignored)]
    if extra:
        raise ArtefactError(f"{min(extra)} is in the weights, but the model has no such tensor")


def check_shapes(model: PreTrainedModel, headers: Mapping[str, Header]) -> None:
    """Check the types and shapes of all stored tensors of the model.

    Raises:
        ArtefactError: a tensor of the model is stored with another type or shape.
    """
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name in headers:
            check_tensor(name, headers[name], tensor)


def _grouped(model: PreTrainedModel) -> list[set[str]]:
    """Group the names of the model's tensors by the tensor they share."""
    tensors = model.state_dict(keep_vars=True)
    # transformers 5 ties them when they are loaded, and knows their names beforehand.
    tied = getattr(model, "all_tied_weights_keys", {})
    groups: dict[int, set[str]] = {}
    for name in tensors:
        groups.setdefault(id(tensors.get(tied.get(name, name), tensors[name])), set()).add(name)
    return list(groups.values())


def find_masks(model: nn.Module) -> set[str]:
    """Return the names of buffers outside compressed modules, which may be infinite.

    Every name is included with and without the prefix of the base model.
    """
    ours = {f"{name}.{key}" for name, module in stored_modules(model) for key, _ in module.named_buffers()}
    names = {name for name, _ in model.named_buffers()} - ours
    prefix = getattr(model, "base_model_prefix", "")
    return names | {name.removeprefix(f"{prefix}.") for name in names} | {f"{prefix}.{name}" for name in names}
