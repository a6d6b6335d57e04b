"""Which class a model is opened in."""

import inspect
import sys
from typing import Any

import transformers
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from dsformer.errors import InputError
from dsformer.models.directory import ModelDirectory
from dsformer.models.opening import check_architectures

# What sentence-transformers opens the transformer of a module in, by the module's task.
_OF_TASK = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "text-generation": "AutoModelForCausalLM",
    "fill-mask": "AutoModelForMaskedLM",
}
_MULTIMODAL = ("any-to-any", "retrieval")
# Encoder-decoders of which sentence-transformers takes the encoder alone, by model_type.
_ENCODERS_ALONE = frozenset(
    {
        *("t5", "mt5", "umt5", "longt5", "t5gemma", "switch_transformers", "prophetnet", "blenderbot"),
        *("blenderbot-small", "m2m_100", "marian", "pegasus", "pegasus_x"),
    }
)


def get_model_class(directory: ModelDirectory, config: PretrainedConfig) -> Any:
    """The class (or the Auto class) that has the head a directory's model is used with.

    A directory of sentence-transformers says what its transformer is for; any other was saved from the class that
    ``architectures`` names.

    Raises:
        InputError: that is nothing that can be compressed, or ``architectures`` is not a list of names.
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
    """A class of transformers by its name: a public one, or one beside those of the configuration's kind of model.

    (sentence-transformers saves encoders of Marian, M2M100 and others, which transformers does not export.)
    """
    try:
        found = getattr(transformers, name)
    except (AttributeError, ImportError):
        base = _base_class(config)
        found = None if base is None else getattr(sys.modules[base.__module__], name, None)
    return found if inspect.isclass(found) and issubclass(found, PreTrainedModel) else None


def get_architecture(config: Any) -> str:
    """The name of the class a model was saved from; empty where it is not known.

    Raises:
        InputError: ``architectures`` is there, but no list of names.
    """
    names = getattr(config, "architectures", None)
    check_architectures(names)
    return names[0] if names else ""


def _saved_class(config: PretrainedConfig) -> Any:
    name = get_architecture(config)
    remote = getattr(config, "auto_map", None) or {}
    for auto, reference in remote.items():
        # "module.Class", of a hub's model with the repository before it.
        if auto.startswith("AutoModel") and name and str(reference).endswith(f".{name}"):
            return getattr(transformers, auto, AutoModel)
    return (find_model_class(name, config) if name else None) or AutoModel


def _encoder_class(config: PretrainedConfig) -> Any:
    """Of some encoder-decoders the encoder alone, as sentence-transformers has it."""
    base = _base_class(config)
    if config.model_type not in _ENCODERS_ALONE or base is None:
        return AutoModel
    name = base.__name__.removesuffix("Model")
    return find_model_class(f"{name}EncoderModel", config) or find_model_class(f"{name}Encoder", config) or AutoModel


def _base_class(config: PretrainedConfig) -> type | None:
    """The plain model of a configuration's kind."""
    found: Any = MODEL_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found
