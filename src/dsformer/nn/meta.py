"""A model as its class makes it, before anything is loaded into it."""

import copy

import torch
from torch import nn
from transformers import PreTrainedModel


def empty_copy(model: nn.Module, dtype: torch.dtype = torch.float32) -> PreTrainedModel | None:
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
