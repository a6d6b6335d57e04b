"""Adapters of peft that are trained on a compressed model."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from dsformer.errors import InputError, MissingExtraError
from dsformer.models.checkpoint import first_line
from dsformer.nn.linear import DenseSparseLinear

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel


def add_lora(model: PreTrainedModel, config: "LoraConfig") -> "PeftModel":
    """A compressed model with LoRA adapters beside its linear layers, which alone are trained.

    Everything else is as peft has it: ``save_pretrained`` writes the adapters, :func:`load_lora` puts them back. They
    cannot be merged into compressed weights: make a copy with ``dsformer densify`` for that.

    Args:
        model: compressed; changed in place.
        config: of peft.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: none of its layers are meant, or peft refuses the configuration.
    """
    require_peft()
    from peft import get_peft_model

    try:
        return get_peft_model(model, _knowing(config))
    except ValueError as error:
        raise InputError(f"adapters: {first_line(error)}") from error


def load_lora(model: PreTrainedModel, directory: str | Path, *, trainable: bool = False) -> "PeftModel":
    """A compressed model with the adapters of a directory.

    Args:
        model: compressed, the one they were trained on; changed in place.
        trainable: go on training them.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: there are no adapters, or they are not of this model.
    """
    require_peft()
    from peft import LoraConfig, PeftModel

    try:
        config = LoraConfig.from_pretrained(str(directory))
        return PeftModel.from_pretrained(model, str(directory), config=_knowing(config), is_trainable=trainable)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{directory}: no adapters of this model ({first_line(error)})") from error


def require_peft() -> None:
    """Raises MissingExtraError: peft is not installed."""
    if find_spec("peft") is None:
        raise MissingExtraError("Working with adapters", "peft")


def _knowing(config: "LoraConfig") -> "LoraConfig":
    """The configuration, told of compressed layers."""
    config._register_custom_module({DenseSparseLinear: _lora_layer()})
    return config


@cache
def _lora_layer() -> type:
    """The class of a compressed layer with adapters; made where peft is there to be asked for its own."""
    from peft.tuners import lora

    class LoraDenseSparse(lora.Linear):
        """LoRA beside a compressed layer: peft's, but there is no dense weight to merge into."""

        def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
            raise InputError(
                "adapters cannot be merged into compressed weights; merge them into a copy made by dsformer densify"
            )

        def _get_in_out_features(self, module: Any) -> tuple[int, int]:
            return module.in_features, module.out_features

    return LoraDenseSparse
