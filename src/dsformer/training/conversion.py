"""Conversion of a compressed model to one whose factors are trained, and back."""

from collections.abc import Callable, Sequence, Set

import torch
from torch import nn
from transformers import PreTrainedModel

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.schema import BlockConfig
from dsformer.models.heads import get_head
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.modules import replace_modules
from dsformer.nn.replace import install_forms, read_forms
from dsformer.training.parametrization import LearnedBlock, LearnedBlocks

NAME = "learned_blocks"


def install_learned_blocks(
    model: PreTrainedModel,
    configs: Sequence[BlockConfig],
    make: Callable[[BlockConfig, Form], LearnedBlock] = LearnedBlock,
) -> LearnedBlocks:
    """Replace the compressed linear layers of a model by plain ones that reconstruct weights from trained factors.

    Embedding tables that are compressed stay so.

    Args:
        model: compressed; changed in place.
        configs: its blocks.
        make: the constructor of a trained block.

    Raises:
        InputError: the model has no compressed linear layer.
    """
    linear = [config for config in configs if config.kind != "embedding"]
    if not linear:
        raise InputError("the model has no compressed linear layers to train")
    forms = read_forms(model)
    blocks = [make(config, Form.joined([forms[name] for name in config.names])) for config in linear]
    _densify(model, {name for config in linear for name in config.names})
    learned = LearnedBlocks(model, blocks)
    model.add_module(NAME, learned)
    return learned


@torch.no_grad()
def reset_to_untrained(model: PreTrainedModel, untrained: PreTrainedModel) -> list[nn.Parameter]:
    """Copy the parameters that are not factorized from a model of the same shapes, not yet trained on the task.

    Returns:
        The parameters of the task's head.
    """
    own = dict(model.named_parameters())
    shared = {name: values for name, values in untrained.named_parameters() if name in own}
    for name, values in shared.items():
        own[name].copy_(values)
    return [own[name] for name in get_head(untrained) if name in own]


def install_learned_forms(model: PreTrainedModel, learned: LearnedBlocks) -> list[BlockConfig]:
    """Put the trained factors back into compressed layers. Returns their blocks, whose banked supports are others."""
    delattr(model, NAME)
    learned.detach()
    forms = [block.form() for block in learned]
    blocks = [block.config.counting(form.spec) for block, form in zip(learned, forms, strict=True)]
    install_forms(model, blocks, forms)
    return blocks


def _densify(model: nn.Module, names: Set[str]) -> None:
    """Replace compressed linear layers by plain ones, under every name that they have."""
    modules = dict(model.named_modules(remove_duplicate=False))
    dense: dict[nn.Module, nn.Module] = {}
    for name in names:
        stored = modules[name]
        assert isinstance(stored, DenseSparseLinear), name
        dense[stored] = plain = stored.densified()
        plain.register_parameter("bias", stored.bias)  # the same tensor: it may be tied to others
    replace_modules(model, dense)
