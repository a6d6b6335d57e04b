"""Open the model that is to be compressed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.models.adapter_merging import merge_adapters, open_adapters
from dsformer.models.architectures import get_model_class
from dsformer.models.checkpoint import first_line
from dsformer.models.dequantize import dequantize, from_gguf, get_quantization_method, refusal
from dsformer.models.directory import ModelDirectory
from dsformer.models.pretrained import load_config, load_pretrained, load_tokenizer
from dsformer.models.remote_code import trusted, untrusted
from dsformer.utils.atomic_io import user_path

# Weights of other formats, and what is of their tools, are not downloaded.
_UNWANTED = (
    *("*.onnx", "*.onnx_data", "onnx/*", "openvino/*", "coreml/*", "*.gguf", "*.h5", "*.msgpack", "*.ot", "*.ckpt*"),
    *("*.pdf", "*.png", "*.jpg", "*.gif", "consolidated*", "optimizer.pt", "training_args.bin", "checkpoint-*"),
)


@dataclass(frozen=True)
class Source:
    """A model with its tokenizer.

    Attributes:
        name: what it was asked for as: a directory, a hub name, or the class of a model given as an object.
        model: in evaluation mode, in the type it is stored in.
        tokenizer: of the model.
        files: where its files are, if they are anywhere.
        own_tokenizer: whether the tokenizer is the one among those files.
        scratch: keeps the files of an object that has none of its own for as long as this is there.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    files: ModelDirectory | None
    own_tokenizer: bool = True
    scratch: Any = None

    @property
    def directory(self) -> Path | None:
        return None if self.files is None else self.files.top


def open_source(model: Any, tokenizer: Any = None) -> Source:
    """Open a Hugging Face or sentence-transformers directory, a GGUF file, a hub name, or a model in memory.

    Adapters of peft are merged into the model they are of. Models that are quantized are turned to floating point,
    where transformers can.

    Args:
        model: what to open; in memory a model of transformers, a SentenceTransformer or a CrossEncoder.
        tokenizer: instead of the model's own; needed with a model of transformers in memory.

    Raises:
        InputError: it cannot be found or loaded, lacks weights, is compressed already, has NaN or Inf weights, or comes
            without a tokenizer.
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


def _opened(model: Any, tokenizer: Any) -> Source:
    if not isinstance(model, str | Path):
        return _of_object(model, tokenizer)
    if is_gguf(model):
        network, own = from_gguf(user_path(model))
        return Source(str(model), network.eval(), tokenizer or own, None)
    directory = find_directory(model)
    if directory.holds_adapters:
        network, own, theirs = open_adapters(directory, find_directory)
        return Source(str(model), dequantize(network).eval(), tokenizer or own, directory, theirs and not tokenizer)
    config = load_config(directory.place)
    method = get_quantization_method(config)
    try:
        network = dequantize(load_pretrained(get_model_class(directory, config), directory.place, dtype="auto"))
    except InputError as error:
        raise (error if method is None else refusal(method, error)) from error
    own = tokenizer or load_tokenizer(directory.place)
    return Source(str(model), network.eval(), own, directory, tokenizer is None)


def _of_object(model: Any, tokenizer: Any) -> Source:
    _refuse_wrapped(model)
    name = type(model).__name__
    if type(model).__module__.startswith("sentence_transformers."):
        # Its own directory says everything of modules, prompts and limits.
        scratch = tempfile.TemporaryDirectory()
        model.save(scratch.name)
        files, network = ModelDirectory.read(Path(scratch.name)), _transformer_of(model)
        network = dequantize(merge_adapters(network) or network).eval()
        return Source(name, network, tokenizer or model.tokenizer, files, tokenizer is None, scratch)
    network = merge_adapters(model) or model
    if not isinstance(network, PreTrainedModel):
        raise InputError(
            f"expected a directory, a hub name, a model of transformers, a SentenceTransformer or a CrossEncoder, not "
            f"{name}"
        )
    if tokenizer is None:
        raise InputError("a model given as an object needs a tokenizer: tokenizer=...")
    network = dequantize(network).eval()
    origin = Path(getattr(network.config, "name_or_path", None) or "")
    known = find_files(network, ModelDirectory.read(origin)) if (origin / "config.json").is_file() else None
    return Source(str(known.top if known else type(network).__name__), network, tokenizer, known, False)


def _refuse_wrapped(model: Any) -> None:
    """Raises InputError for what has a model inside, whose layers cannot be replaced through it."""
    kind = type(model).__name__
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise InputError(f"the model is wrapped in {kind}: give the model inside (model.module)")
    if kind == "OptimizedModule" or getattr(model, "_compiled_call_impl", None) is not None:
        raise InputError(
            "the model is compiled: give the one it was compiled from (model._orig_mod); compile the result"
        )


def _transformer_of(model: Any) -> PreTrainedModel:
    """The transformer of a SentenceTransformer or CrossEncoder. Raises InputError: it has none, or several."""
    found = [one for one in model.modules() if isinstance(one, PreTrainedModel)]
    outer = [one for one in found if not any(one is not other and one in set(other.modules()) for other in found)]
    if len(outer) != 1:
        raise InputError(f"the {type(model).__name__} has {len(outer)} transformers, where one can be compressed")
    return outer[0]


def find_files(model: PreTrainedModel, directory: ModelDirectory) -> ModelDirectory:
    """The files that travel with a model out of the directory it came from: those of sentence-transformers only where
    it is of the class that these use."""
    if directory.task is None:
        return directory
    wanted = get_model_class(directory, model.config)
    mapping = getattr(wanted, "_model_mapping", None)
    classes = mapping.get(type(model.config), ()) if mapping is not None else wanted
    same = type(model) in (classes if isinstance(classes, tuple | list) else (classes,))
    return directory if same else ModelDirectory(directory.top, directory.place)


def require_model(model: str | Path) -> None:
    """Raises InputError before the work: there is no such directory or file, nor a model of that name on the hub."""
    if not is_gguf(model):
        find_directory(model)


def resolve_model(model: str | Path) -> Path:
    """The directory with a model's configuration and weights: inside a sentence-transformers one, its transformer's.

    Raises:
        InputError: there is no such directory, nor a model of that name on the hub.
    """
    return find_directory(model).place


def open_config(model: str | Path) -> PretrainedConfig:
    """The configuration of a model's directory, or of that of its transformer.

    Raises:
        InputError: there is no such model, or it is none of its own: adapters, or a GGUF file.
    """
    if is_gguf(model):
        raise InputError(f"{model}: a GGUF file can be compressed and evaluated as a language model, nothing else")
    directory = find_directory(model)
    if directory.holds_adapters:
        raise InputError(f"{model}: holds adapters; merge them into their model first (peft's merge_and_unload)")
    return load_config(directory.place)


def find_directory(model: str | Path) -> ModelDirectory:
    """A model's directory, downloaded if need be. Raises InputError: there is none, nor a model of that name."""
    if not str(model).strip():
        raise InputError("the name of the model is empty; give a directory or the name of a model on the hub")
    directory = user_path(model)
    return ModelDirectory.read(directory if directory.is_dir() else _downloaded(str(model)))


def require_encoder(model: str | Path) -> None:
    """Make sure, before sentence-transformers opens a directory as a sentence encoder, that it is a whole one.

    What it lacks, sentence-transformers would make up; and it runs code that comes with a local directory unasked.

    Raises:
        InputError: there is no such model, its transformer is for something else, weights or tokenizer are missing, or
            it comes with code of its own.
    """
    directory = find_directory(model)
    if directory.task not in (None, "feature-extraction"):
        raise InputError(f"{model}: its transformer is for {directory.task}, so it is no sentence encoder")
    if directory.has_code and not trusted():
        raise untrusted(model)
    if not directory.holds_adapters:
        config = load_config(directory.place)
        own = directory if directory.task else replace(directory, task="feature-extraction")
        if get_quantization_method(config, compressed=True) is None:
            # On no device: the names of what is there are enough.
            load_pretrained(get_model_class(own, config), directory.place, device_map="meta")
        load_tokenizer(directory.place)


def _downloaded(name: str) -> Path:
    try:
        directory = Path(snapshot_download(name, ignore_patterns=[*_UNWANTED, "pytorch_model*.bin"]))
        if not any(directory.rglob("*.safetensors")):
            # Old models have pickles only; torch loads those as plain tensors.
            directory = Path(snapshot_download(name, ignore_patterns=[*_UNWANTED]))
        return directory
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise InputError(f"{name}: neither a directory nor a model of the hub ({first_line(error)})") from error
