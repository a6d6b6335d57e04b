"""Open the model that is to be compressed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.huggingface.checkpoint import first_line
from dsformer.huggingface.companions import read_modules

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "LICENSE*", "NOTICE*"]


@dataclass(frozen=True)
class Source:
    """A model with its tokenizer.

    Attributes:
        name: what it was asked for as: a directory, a hub name, or the class of a model given as an object.
        model: in evaluation mode, in the type it is stored in.
        tokenizer: of the model.
        directory: where its files are, if they are anywhere.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    directory: Path | None


def open_source(model: str | Path | PreTrainedModel, tokenizer: Any = None) -> Source:
    """Open a Hugging Face or sentence-transformers directory, a hub name, or a model that is already in memory.

    Args:
        model: what to open.
        tokenizer: instead of the model's own; needed with a model in memory.

    Raises:
        InputError: it cannot be found or loaded, is compressed already, or comes without a tokenizer.
    """
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise InputError("a model given as an object needs a tokenizer: tokenizer=...")
        _refuse_compressed(model.config)
        origin = Path(getattr(model.config, "name_or_path", None) or "")
        directory = origin if (origin / "config.json").is_file() else None
        return Source(str(directory or type(model).__name__), model.eval(), tokenizer, directory)
    directory = Path(model).expanduser()
    if not directory.is_dir():
        directory = _downloaded(str(model))
    try:
        sentences = (directory / "modules.json").is_file()
        place = directory / _transformer_path(directory) if sentences else directory
        config = AutoConfig.from_pretrained(place)
        _refuse_compressed(config)
        loader: Any = AutoModel if sentences else _model_class(config)
        network = loader.from_pretrained(place, dtype="auto")
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{model}: {first_line(error)}") from error
    return Source(str(model), network.eval(), tokenizer, directory)


def _downloaded(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(f"{name}: neither a directory nor a model of the hub ({first_line(error)})") from error


def _transformer_path(directory: Path) -> str:
    for module in read_modules(directory / "modules.json"):
        if str(module["type"]).endswith("Transformer"):
            return module["path"]
    raise InputError(f"{directory}: its modules.json has no transformer")


def _model_class(config: PretrainedConfig) -> Any:
    """The class the model was saved from, with its head; the plain model where that is not known."""
    name = (config.architectures or [""])[0]
    return getattr(transformers, name, None) or AutoModel


def _refuse_compressed(config: PretrainedConfig) -> None:
    if getattr(config, "quantization_config", None):
        raise InputError("the model is quantized or compressed already; give the original one")
