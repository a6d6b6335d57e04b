"""From a compressed model to one whose factorizations can be learned, and back."""

from collections.abc import Callable, Sequence

from torch import nn
from transformers import PreTrainedModel

from dsformer.errors import InputError
from dsformer.factorization.form import Form
from dsformer.layers import BlockConfig, DenseSparseLinear, install_forms, read_forms
from dsformer.training.blocks import LearnedBlock, LearnedBlocks

NAME = "learned_blocks"


def begin(
    model: PreTrainedModel,
    configs: Sequence[BlockConfig],
    make: Callable[[BlockConfig, Form], LearnedBlock] = LearnedBlock,
) -> LearnedBlocks:
    """Replace the compressed linears of a model by plain ones whose weights are learned.

    Compressed embedding tables stay compressed.

    Raises:
        InputError: the model has no compressed linear layer.
    """
    linear = [config for config in configs if config.kind != "embedding"]
    if not linear:
        raise InputError("the model has no compressed linear layers to train")
    forms = read_forms(model)
    blocks = [make(config, Form.joined([forms[name] for name in config.names])) for config in linear]
    for name in (name for config in linear for name in config.names):
        stored = model.get_submodule(name)
        assert isinstance(stored, DenseSparseLinear), name
        _put(model, name, stored.densified())
    learned = LearnedBlocks(model, blocks)
    model.add_module(NAME, learned)
    return learned


def finish(model: PreTrainedModel, learned: LearnedBlocks) -> None:
    """Put what was learned back into compressed layers."""
    delattr(model, NAME)
    learned.detach()
    install_forms(model, [block.config for block in learned], [block.form() for block in learned])


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
