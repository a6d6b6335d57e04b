"""Model classes: the class of transformers that a model is opened in."""

import inspect
import sys
from typing import Any

import transformers
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from dsformer.errors import InputError
from dsformer.models.directory import ModelDirectory
from dsformer.models.opening import check_architectures

# The Auto class in which sentence-transformers opens the transformer of a module, by the module's task.
_OF_TASK = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "text-generation": "AutoModelForCausalLM",
    "fill-mask": "AutoModelForMaskedLM",
}
_MULTIMODAL = ("any-to-any", "retrieval")
# Encoder-decoders of which sentence-transformers uses the encoder alone, by model_type.
_ENCODERS_ALONE = frozenset(
    {
        *("t5", "mt5", "umt5", "longt5", "t5gemma", "switch_transformers", "prophetnet", "blenderbot"),
        *("blenderbot-small", "m2m_100", "marian", "pegasus", "pegasus_x"),
    }
)


def get_model_class(directory: ModelDirectory, config: PretrainedConfig) -> Any:
    """Return the model class or Auto class with the head that a directory's model is used with.

    A directory of sentence-transformers names the task of its transformer. Any other directory was saved from the class
    that ``architectures`` names.

    Raises:
        InputError: a model for this task cannot be compressed, or ``architectures`` is not a list of names.
    """
    if directory.task is None:
        return _saved_class(config)
    if directory.task == "feature-extraction":
        return _encoder_class(config)
    if directory.task in _OF_TASK:
        return getattr(transformers, _OF_TASK[directory.task])
    why = "is not of text alone" if directory.task in _MULTIMODAL else f"is not one of {', '.join(_OF_TASK)}"
    raise InputError(f"{directory.top}: its transformer is for {directory.task!r}, which {why}")


def find_model_class(name: str, config: PretrainedConfig) -> type[PreTrainedModel] | None:
    """Find a class of transformers by its name; None if there is none.

    Public classes are looked up first, then those in the module of the configuration's base model.
    sentence-transformers saves encoders of Marian, M2M100 and others, which transformers does not export.
    """
    try:
        found = getattr(transformers, name)
    except (AttributeError, ImportError):
        base = _base_class(config)
        found = None if base is None else getattr(sys.modules[base.__module__], name, None)
    return found if inspect.isclass(found) and issubclass(found, PreTrainedModel) else None


def get_architecture(config: Any) -> str:
    """Return the name of the class a model was saved from; empty if it is not known.

    Raises:
        InputError: ``architectures`` is present, but not a list of names.
    """
    names = getattr(config, "architectures", None)
    check_architectures(names)
    return names[0] if names else ""


def _saved_class(config: PretrainedConfig) -> Any:
    """Return the class that ``architectures`` names, or the Auto class that finds it in remote code; else AutoModel."""
    name = get_architecture(config)
    remote = getattr(config, "auto_map", None) or {}
    for auto, reference in remote.items():
        # "module.Class"; for a model on the hub, the repository comes before it.
        if auto.startswith("AutoModel") and name and str(reference).endswith(f".{name}"):
            return getattr(transformers, auto, AutoModel)
    return (find_model_class(name, config) if name else None) or AutoModel


def _encoder_class(config: PretrainedConfig) -> Any:
    """Return the encoder alone of the encoder-decoders that sentence-transformers uses so; else AutoModel."""
    base = _base_class(config)
    if config.model_type not in _ENCODERS_ALONE or base is None:
        return AutoModel
    name = base.__name__.removesuffix("Model")
    return find_model_class(f"{name}EncoderModel", config) or find_model_class(f"{name}Encoder", config) or AutoModel


def _base_class(config: PretrainedConfig) -> type | None:
    """Return the class of the base model, without a head, for a configuration."""
    found: Any = MODEL_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found
