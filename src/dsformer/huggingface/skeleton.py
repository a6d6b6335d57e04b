"""The tensors a compressed directory must hold, from its ``config.json`` alone."""

import re
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from dsformer.errors import ArtefactError
from dsformer.huggingface.checkpoint import first_line, read_json
from dsformer.huggingface.config import METHOD, DSFormerConfig
from dsformer.huggingface.quantizer import resolved
from dsformer.huggingface.tying import forget_tied
from dsformer.layers.builder import install

# A model has tens of layers; building millions of empty ones would take for ever.
_MAX_LAYERS = 10_000


def read_config(directory: Path) -> tuple[dict[str, Any], DSFormerConfig]:
    """``config.json``, and the part of it that is ours.

    Raises:
        ArtefactError: it is not there, damaged, or of a model that DSFormer has not compressed.
    """
    if not directory.is_dir():
        raise ArtefactError(f"{directory}: no such directory")
    path = directory / "config.json"
    config = read_json(path)
    quantization = config.get("quantization_config") if isinstance(config, dict) else None
    if not isinstance(quantization, dict) or quantization.get("quant_method") != METHOD:
        raise ArtefactError(f"{path}: not of a model compressed with DSFormer")
    try:
        return config, DSFormerConfig.from_dict(quantization)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None


def expected_tensors(
    directory: Path, config: dict[str, Any], compression: DSFormerConfig
) -> list[dict[str, Tensor]] | None:
    """The tensors of the model, empty ones on the meta device: a list of sets of names that share one tensor.

    None when the model's class is not one of transformers' own.

    Raises:
        ArtefactError: ``config.json`` describes no model, or not the one that was compressed.
    """
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    model_class = getattr(transformers, name, None) if isinstance(name, str) else None
    if config.get("auto_map") or not isinstance(model_class, type) or not issubclass(model_class, PreTrainedModel):
        return None
    layers = [value for key, value in config.items() if "layers" in key and isinstance(value, int)]
    if any(count > _MAX_LAYERS for count in layers):
        raise ArtefactError(f"{directory / 'config.json'}: {max(layers)} layers")
    try:
        with torch.device("meta"):
            model = model_class(AutoConfig.from_pretrained(directory, local_files_only=True))
    except Exception as error:  # whatever a nonsensical configuration makes transformers raise
        raise ArtefactError(f"{directory / 'config.json'}: describes no model ({first_line(error)})") from None
    install(model, resolved(model, compression.blocks))
    forget_tied(model)
    model.tie_weights()
    return _grouped(model)


def _grouped(model: PreTrainedModel) -> list[dict[str, Tensor]]:
    optional = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    groups: dict[int, dict[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not any(pattern.search(name) for pattern in optional):
            groups.setdefault(id(tensor), {})[name] = tensor
    return list(groups.values())
