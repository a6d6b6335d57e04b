"""LoRA adapters of PEFT, trained on a compressed model."""

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
    """Add LoRA adapters to the linear layers of a compressed model, and make only the adapters trainable.

    Everything else is as in PEFT: ``save_pretrained`` writes the adapters, and :func:`load_lora` loads them. Adapters
    cannot be merged into compressed weights; merge them into a dense copy made with ``dsformer densify``.

    Args:
        model: the compressed model; changed in place.
        config: the LoRA configuration of PEFT.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: the configuration matches no layer of the model, or PEFT refuses it.
    """
    require_peft()
    from peft import get_peft_model

    try:
        return get_peft_model(model, _knowing(config))
    except ValueError as error:
        raise InputError(f"adapters: {first_line(error)}") from error


def load_lora(model: PreTrainedModel, directory: str | Path, *, trainable: bool = False) -> "PeftModel":
    """Load LoRA adapters from a directory into a compressed model.

    Args:
        model: the compressed model that the adapters were trained on; changed in place.
        directory: the directory of the adapters, as PEFT wrote it.
        trainable: whether training of the adapters continues.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: there are no adapters in the directory, or they are not of this model.
    """
    require_peft()
    from peft import LoraConfig, PeftModel

    try:
        config = LoraConfig.from_pretrained(str(directory))
        return PeftModel.from_pretrained(model, str(directory), config=_knowing(config), is_trainable=trainable)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{directory}: no adapters of this model ({first_line(error)})") from error


def require_peft() -> None:
    """Check that PEFT is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("peft") is None:
        raise MissingExtraError("Working with adapters", "peft")


def _knowing(config: "LoraConfig") -> "LoraConfig":
    """Register compressed layers with a LoRA configuration, so that PEFT can adapt them."""
    config._register_custom_module({DenseSparseLinear: _lora_layer()})
    return config


@cache
def _lora_layer() -> type:
    """Return PEFT's class for a compressed layer with adapters.

    It is defined on first use, since its base class needs peft.
    """
    from peft.tuners import lora

    class LoraDenseSparse(lora.Linear):
        """LoRA beside a compressed layer: like PEFT's layer, but with no dense weight to merge into."""

        def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
            raise InputError(
                "adapters cannot be merged into compressed weights; merge them into a copy made by dsformer densify"
            )

        def _get_in_out_features(self, module: Any) -> tuple[int, int]:
            return module.in_features, module.out_features

    return LoraDenseSparse
