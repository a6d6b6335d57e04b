"""The model that a compressed directory is of, without numbers, from its ``config.json`` alone."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from dsformer.errors import ArtefactError
from dsformer.models.checkpoint import CONFIG, first_line
from dsformer.models.config import DSFormerConfig
from dsformer.models.expected_tensors import resolve_blocks
from dsformer.models.tying import forget_tied
from dsformer.nn.replace import install

# A model has tens of layers; building millions of empty ones would take for ever.
_MAX_LAYERS = 10_000


def make_empty_model(directory: Path, config: dict[str, Any], compression: DSFormerConfig) -> PreTrainedModel | None:
    """The compressed model on the meta device; None when its class is not one of transformers' own.

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
        raise ArtefactError(f"{directory / CONFIG}: {max(layers)} layers")
    with _described(directory), torch.device("meta"):
        model = model_class(AutoConfig.from_pretrained(directory, local_files_only=True))
    install(model, resolve_blocks(model, compression.blocks, whole=True))
    forget_tied(model)
    with _described(directory):
        model.tie_weights()
    return model


@contextmanager
def _described(directory: Path) -> Iterator[None]:
    """Raises ArtefactError for whatever a nonsensical configuration makes transformers raise."""
    try:
        yield
    except Exception as error:
        raise ArtefactError(f"{directory / CONFIG}: describes no model ({first_line(error)})") from None


def make_empty_copy(model: nn.Module, dtype: torch.dtype = torch.float32) -> PreTrainedModel | None:
    """A model of the same class and configuration on the meta device, made in a type as ``from_pretrained`` does.

    None where the configuration alone does not make one.
    """
    if not isinstance(model, PreTrainedModel):
        return None
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            return type(model)(copy.deepcopy(model.config))
    except Exception:  # whatever a class raises that wants more than its configuration
        return None
    finally:
        torch.set_default_dtype(before)
