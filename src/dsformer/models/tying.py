"""Modules tied to a compressed embedding are tied by their construction; transformers has nothing to tie there."""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from dsformer.nn.embedding import TiedEmbedding, TiedHead

# Where a model keeps what it said of its tied weights.
_BEFORE = "_dsformer_tied_before"


def forget_tied(model: PreTrainedModel) -> None:
    """Take the weights of tied modules out of what transformers 5 believes it has to tie.

    Its mapping names parameters, and these modules have no weight of their own. transformers 4 ties modules, which they
    put up with, and only lists the names of tied weights.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            names = [f"{name}.weight" for name, child in module.named_modules() if _is_tied(child)]
            if names:
                _forget(module, "_tied_weights_keys", names)
                _forget(module, "all_tied_weights_keys", names)


def remember_tied(model: PreTrainedModel) -> None:
    """Undo :func:`forget_tied` for a model whose tables are dense again, and part what its class does not tie.

    Parameters that are one tensor are stored once, under the name that the class says the others are tied to. A class
    that says nothing of them would be left without the others.
    """
    for module in model.modules():
        for attribute, mapping in module.__dict__.pop(_BEFORE, {}).items():
            setattr(module, attribute, mapping)
    tied = getattr(model, "all_tied_weights_keys", None)
    if isinstance(tied, dict):  # transformers 5
        _part(model, tied)


def _part(model: nn.Module, tied: dict[str, str]) -> None:
    """Give each tied parameter that the mapping does not name a tensor of its own."""
    known = {*tied, *tied.values()}
    seen: dict[nn.Parameter, str] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        first = seen.setdefault(parameter, name)
        prefix, _, own = name.rpartition(".")
        module = model.get_submodule(prefix)
        alias = module is model.get_submodule(first.rpartition(".")[0])
        if first != name and not alias and not {first, name} <= known:
            setattr(module, own, nn.Parameter(parameter.detach().clone()))


def _is_tied(module: nn.Module) -> bool:
    return isinstance(module, (TiedEmbedding, TiedHead))


def _forget(model: Any, attribute: str, names: list[str]) -> None:
    mapping = getattr(model, attribute, None)
    if isinstance(mapping, dict):
        model.__dict__.setdefault(_BEFORE, {}).setdefault(attribute, mapping)
        kept = {
            target: source
            for target, source in mapping.items()
            if not any(re.search(f"^{pattern}", name) for pattern in (target, source) for name in names)
        }
        setattr(model, attribute, kept)
