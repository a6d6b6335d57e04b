"""Layer dropping: a model with fewer layers, as students of distillation begin (DistilBERT, arXiv 1910.01108)."""

import re
from collections.abc import Sequence
from math import ceil

from torch import nn
from transformers import PreTrainedModel

from dsformer.errors import UnreachableError


def drop_layers(model: PreTrainedModel, ratio: float) -> list[nn.Module]:
    """Drop layers evenly, so that their number divided by ``ratio``, rounded up, remains.

    Layer ``i`` of the remaining ones was the one after which the same share of all layers has run. The last layer
    stays.

    Args:
        model: changed in place.
        ratio: number of layers divided by the number to keep.

    Returns:
        The layers dropped.

    Raises:
        InputError: the model has no single list of layers that can be shortened.
    """
    name, layers = _layers_of(model)
    count = ceil(len(layers) / ratio)
    kept = [teacher_layer(i + 1, count, len(layers)) - 1 for i in range(count)]
    dropped = [layer for i, layer in enumerate(layers) if i not in kept]
    model.set_submodule(name, nn.ModuleList(layers[i] for i in kept))
    _tell(model, kept, len(layers))
    return dropped


def teacher_layer(layer: int, count: int, of: int) -> int:
    """Return how many layers of a teacher correspond to ``layer`` layers of its student.

    Args:
        layer: number of the student's layers that have run.
        count: number of all layers of the student.
        of: number of all layers of the teacher.
    """
    return round(layer * of / count)


def find_in_teacher(names: Sequence[str], layer: int, student: PreTrainedModel, teacher: PreTrainedModel) -> list[str]:
    """Return the names that modules of a student's layer have in the layer of its teacher that it follows.

    Args:
        names: names of the modules in the student.
        layer: index of their layer in the student; the first is 0.
        student: the student.
        teacher: the teacher, which may have more layers.
    """
    ours, theirs = (getattr(model.config, "num_hidden_layers", 0) for model in (student, teacher))
    if ours == theirs:
        return list(names)
    followed = teacher_layer(layer + 1, ours, theirs) - 1
    return [re.sub(rf"\.{layer}\.", f".{followed}.", name, count=1) for name in names]


def _layers_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of the model's layers.

    Raises:
        UnreachableError: there is no single such list, or its layers differ in their tensors.
    """
    count = getattr(model.config, "num_hidden_layers", None)
    lists = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.ModuleList)]
    found = [(name, one) for name, one in lists if len(one) == count]
    if len(found) != 1 or model.config.is_encoder_decoder:
        raise UnreachableError("method student: this model has no one list of layers that can be shortened")
    # Else a layer could move to where the model's class has another kind: ModernBERT's first layer has no norm.
    tensors = [{name: tensor.shape for name, tensor in layer.state_dict().items()} for layer in found[0][1]]
    if any(one != tensors[0] for one in tensors):
        raise UnreachableError(
            "method student: the layers of this model are not alike, so none can take the place of another"
        )
    return found[0]


def _tell(model: PreTrainedModel, kept: Sequence[int], of: int) -> None:
    """Update the configuration's number and types of layers, and the layer indices that decoders' caches use."""
    config = model.config
    config.num_hidden_layers = len(kept)
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, list) and len(kinds) == of:
        config.layer_types = [kinds[i] for i in kept]
    for module in model.modules():
        number = module.__dict__.get("layer_idx")
        if isinstance(number, int) and number in kept:
            module.layer_idx = kept.index(number)  # type: ignore[assignment]
