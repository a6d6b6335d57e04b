"""Open the model that is to be compressed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.files import user_path
from dsformer.huggingface.adapters import ADAPTER, merged, open_adapters
from dsformer.huggingface.checkpoint import first_line
from dsformer.huggingface.companions import read_modules
from dsformer.huggingface.opening import check_config, opening
from dsformer.huggingface.quantized import dequantized, from_gguf, method_of, refusal

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*", "NOTICE*"]


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
    """Open a Hugging Face or sentence-transformers directory, a GGUF file, a hub name, or a model in memory.

    Adapters of peft are merged into the model they are of.

    Models that are quantized are turned to floating point, where transformers can.

    Args:
        model: what to open.
        tokenizer: instead of the model's own; needed with a model in memory.

    Raises:
        InputError: it cannot be found or loaded, is compressed already, has NaN or Inf weights, or comes without a
            tokenizer.
    """
    with quiet():
        source = _opened(model, tokenizer)
    broken = next((name for name, p in source.model.named_parameters() if not torch.isfinite(p).all()), None)
    if broken:
        raise InputError(f"{source.name}: {broken} has NaN or Inf values; repair the checkpoint first")
    return source


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers inside a library call."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def is_gguf(model: str | Path) -> bool:
    """Whether it is a GGUF file."""
    return str(model).endswith(".gguf") and user_path(model).is_file()


def _opened(model: str | Path | PreTrainedModel, tokenizer: Any) -> Source:
    model = merged(model) or model
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise InputError("a model given as an object needs a tokenizer: tokenizer=...")
        model = dequantized(model)
        origin = Path(getattr(model.config, "name_or_path", None) or "")
        directory = origin if (origin / "config.json").is_file() else None
        return Source(str(directory or type(model).__name__), model.eval(), tokenizer, directory)
    if is_gguf(model):
        network, own = from_gguf(user_path(model))
        return Source(str(model), network.eval(), tokenizer or own, None)
    directory, method = _directory(model), None
    if (directory / ADAPTER).is_file():
        network, own = open_adapters(directory)
        return Source(str(model), network.eval(), tokenizer or own, None)
    try:
        with opening(model):
            place = _place(directory)
            sentences = (directory / "modules.json").is_file()
            config = AutoConfig.from_pretrained(place)
            check_config(config)
            method = method_of(config)
            loader: Any = AutoModel if sentences else _model_class(config)
            network = dequantized(loader.from_pretrained(place, dtype="auto"))
            tokenizer = tokenizer or AutoTokenizer.from_pretrained(place)
    except InputError as error:
        if method is not None and isinstance(error.__cause__, Exception):
            raise refusal(method, error.__cause__) from error
        raise
    return Source(str(model), network.eval(), tokenizer, directory)


def model_place(model: str | Path) -> Path:
    """The directory with a model's configuration and weights: inside a sentence-transformers one, its transformer's.

    Raises:
        InputError: there is no such directory, nor a model of that name on the hub.
    """
    return _place(_directory(model))


def require_model(model: str | Path) -> None:
    """Raises InputError before the work: there is no such directory or file, nor a model of that name on the hub."""
    if not is_gguf(model):
        _directory(model)


def config_of(model: str | Path) -> PretrainedConfig:
    """The configuration of a model's directory, or of that of its transformer.

    Raises:
        InputError: there is no such model, or it is none of its own: adapters, or a GGUF file.
    """
    if is_gguf(model):
        raise InputError(f"{model}: a GGUF file can be compressed and evaluated as a language model, nothing else")
    directory = _directory(model)
    if (directory / ADAPTER).is_file():
        raise InputError(f"{model}: holds adapters; merge them into their model first (peft's merge_and_unload)")
    with opening(model):
        config = AutoConfig.from_pretrained(_place(directory))
    check_config(config)
    return config


def _directory(model: str | Path) -> Path:
    if not str(model):
        raise InputError("the name of the model is empty; give a directory or the name of a model on the hub")
    directory = user_path(model)
    return directory if directory.is_dir() else _downloaded(str(model))


def _place(directory: Path) -> Path:
    return directory / _transformer_path(directory) if (directory / "modules.json").is_file() else directory


def _downloaded(name: str) -> Path:
    try:
        directory = Path(snapshot_download(name, allow_patterns=_WANTED))
        if not any(directory.rglob("*.safetensors")):
            # Old models have pickles only; torch loads those as plain tensors.
            directory = Path(snapshot_download(name, allow_patterns=[*_WANTED, "*.bin"]))
        return directory
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
