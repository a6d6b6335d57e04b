"""Adapters of peft: merged into a dense model before it is compressed, or trained on a compressed one."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, PreTrainedModel

from dsformer.errors import InputError, MissingExtraError
from dsformer.huggingface.checkpoint import first_line
from dsformer.layers import DenseSparseLinear

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

ADAPTER = "adapter_config.json"


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
    _require_peft()
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
    _require_peft()
    from peft import LoraConfig, PeftModel

    try:
        config = LoraConfig.from_pretrained(str(directory))
        return PeftModel.from_pretrained(model, str(directory), config=_knowing(config), is_trainable=trainable)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{directory}: no adapters of this model ({first_line(error)})") from error


def merged(model: Any) -> PreTrainedModel | None:
    """The model that a peft model in memory is once its adapters are merged; None for anything else."""
    if not type(model).__module__.startswith("peft."):
        return None
    if any(isinstance(module, DenseSparseLinear) for module in model.modules()):
        raise InputError("the model is compressed already; give the original one")
    return model.merge_and_unload()


def open_adapters(directory: Path) -> tuple[PreTrainedModel, Any]:
    """The base model of a directory of adapters with these merged, and its tokenizer.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: its base model cannot be opened.
    """
    _require_peft()
    import peft

    try:
        config = peft.PeftConfig.from_pretrained(str(directory))
        names = {
            "SEQ_CLS": "AutoPeftModelForSequenceClassification",
            "TOKEN_CLS": "AutoPeftModelForTokenClassification",
            "QUESTION_ANS": "AutoPeftModelForQuestionAnswering",
            "CAUSAL_LM": "AutoPeftModelForCausalLM",
            "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
            "FEATURE_EXTRACTION": "AutoPeftModelForFeatureExtraction",
        }
        kind = getattr(config.task_type, "value", config.task_type)
        loader = getattr(peft, names.get(kind or "", "AutoPeftModel"))
        model = loader.from_pretrained(str(directory)).merge_and_unload()
        own = any(directory.glob("tokenizer*"))
        tokenizer = AutoTokenizer.from_pretrained(str(directory if own else config.base_model_name_or_path))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{directory}: its adapters cannot be merged ({first_line(error)})") from error
    return model, tokenizer


def _require_peft() -> None:
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
