"""Modules tied to a compressed embedding are tied by their construction; transformers has nothing to tie there."""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from dsformer.layers.embedding import TiedEmbedding, TiedHead


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


def _is_tied(module: nn.Module) -> bool:
    return isinstance(module, (TiedEmbedding, TiedHead))


def _forget(model: Any, attribute: str, names: list[str]) -> None:
    mapping = getattr(model, attribute, None)
    if isinstance(mapping, dict):
        kept = {
            target: source
            for target, source in mapping.items()
            if not any(re.search(f"^{pattern}", name) for pattern in (target, source) for name in names)
        }
        setattr(model, attribute, kept)
