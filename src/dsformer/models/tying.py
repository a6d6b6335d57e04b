"""Tied weights: modules tied to a compressed embedding share it by construction, so transformers must not tie them."""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from dsformer.nn.embedding import TiedEmbedding, TiedHead

# Attribute under which a model keeps its original mappings of tied weights.
_BEFORE = "_dsformer_tied_before"


def forget_tied(model: PreTrainedModel) -> None:
    """Remove the weights of tied modules from those that transformers 5 ties.

    Its mapping names parameters, and these modules have no weight parameter. transformers 4 ties modules, which these
    modules tolerate, and uses the names of tied weights only as a list.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            names = [f"{name}.weight" for name, child in module.named_modules() if _is_tied(child)]
            if names:
                _forget(module, "_tied_weights_keys", names)
                _forget(module, "all_tied_weights_keys", names)


def remember_tied(model: PreTrainedModel) -> None:
    """Undo :func:`forget_tied` for a model whose tables are dense again, and untie what its class does not tie.

    Parameters that share one tensor are stored once, under the name that the class ties the others to. Parameters that
    the class does not tie would be missing from the file.
    """
    for module in model.modules():
        for attribute, mapping in module.__dict__.pop(_BEFORE, {}).items():
            setattr(module, attribute, mapping)
    tied = getattr(model, "all_tied_weights_keys", None)
    if isinstance(tied, dict):  # transformers 5
        _part(model, tied)


def _part(model: nn.Module, tied: dict[str, str]) -> None:
    """Give each tied parameter that the mapping does not name its own tensor."""
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
