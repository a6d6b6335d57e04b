"""Empty models on the meta device: all modules and shapes of a model, without values."""

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

# A model has tens of layers. Building millions of empty ones would take forever.
_MAX_LAYERS = 10_000


def make_empty_model(directory: Path, config: dict[str, Any], compression: DSFormerConfig) -> PreTrainedModel | None:
    """Build the compressed model on the meta device; None if its class is not one of transformers' own.

    Args:
        directory: the compressed directory, which holds ``config.json``.
        config: the contents of ``config.json``.
        compression: the parsed ``quantization_config`` of ``config.json``.

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
    """Turn whatever transformers raises for a nonsensical configuration into an ArtefactError."""
    try:
        yield
    except Exception as error:
        raise ArtefactError(f"{directory / CONFIG}: describes no model ({first_line(error)})") from None


def make_empty_copy(model: nn.Module, dtype: torch.dtype = torch.float32) -> PreTrainedModel | None:
    """Build a model of the same class and configuration on the meta device.

    It is built in the given floating-point type, as ``from_pretrained`` does. None is returned if the configuration
    alone is not enough to build it.
    """
    if not isinstance(model, PreTrainedModel):
        return None
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            return type(model)(copy.deepcopy(model.config))
    except Exception:  # a class that needs more than its configuration may raise anything
        return None
    finally:
        torch.set_default_dtype(before)
