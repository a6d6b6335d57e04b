"""Source models: opening the model to compress, from a directory, a hub name, a GGUF file or memory."""

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

# Not downloaded: weights in other formats, and files of their tools.
_UNWANTED = (
    *("*.onnx", "*.onnx_data", "onnx/*", "openvino/*", "coreml/*", "*.gguf", "*.h5", "*.msgpack", "*.ot", "*.ckpt*"),
    *("*.pdf", "*.png", "*.jpg", "*.gif", "consolidated*", "optimizer.pt", "training_args.bin", "checkpoint-*"),
)


@dataclass(frozen=True)
class Source:
    """A model with its tokenizer, opened to be compressed.

    Attributes:
        name: what the user gave: a directory, a hub name, or the class of a model given as an object.
        model: in evaluation mode, in the type it is stored in.
        tokenizer: the model's tokenizer.
        files: the directory of its files, if it has one.
        own_tokenizer: whether the tokenizer is the one in that directory.
        scratch: temporary directory with the files of an object that has none; it lives as long as this object.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    files: ModelDirectory | None
    own_tokenizer: bool = True
    scratch: Any = None

    @property
    def directory(self) -> Path | None:
        """Top directory of the model's files, if it has one."""
        return None if self.files is None else self.files.top


def open_source(model: Any, tokenizer: Any = None) -> Source:
    """Open a Hugging Face or sentence-transformers directory, a GGUF file, a hub name, or a model in memory.

    Adapters of PEFT are merged into their base model. Quantized models are converted to floating point where
    transformers can do so.

    Args:
        model: what to open; in memory a model of transformers, a SentenceTransformer or a CrossEncoder.
        tokenizer: replaces the model's tokenizer; required with a model of transformers in memory.

    Raises:
        InputError: the model cannot be found or loaded, lacks weights, is compressed already, has NaN or Inf weights,
            or has no tokenizer.
    """
    with quiet():
        source = _opened(model, tokenizer)
    broken = next((name for name, p in source.model.named_parameters() if not torch.isfinite(p).all()), None)
    if broken:
        raise InputError(f"{source.name}: {broken} has NaN or Inf values; repair the checkpoint first")
    return source


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers within a library call."""
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
    """Return whether a model is given as a GGUF file."""
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
        # The directory it saves describes its modules, prompts and limits in full.
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
    """Refuse a wrapper around a model, whose layers cannot be replaced through it.

    Raises:
        InputError: the model is wrapped for data parallelism, or compiled.
    """
    kind = type(model).__name__
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise InputError(f"the model is wrapped in {kind}: give the model inside (model.module)")
    if kind == "OptimizedModule" or getattr(model, "_compiled_call_impl", None) is not None:
        raise InputError(
            "the model is compiled: give the one it was compiled from (model._orig_mod); compile the result"
        )


def _transformer_of(model: Any) -> PreTrainedModel:
    """Return the transformer inside a SentenceTransformer or CrossEncoder.

    Raises:
        InputError: it has no transformer, or several.
    """
    found = [one for one in model.modules() if isinstance(one, PreTrainedModel)]
    outer = [one for one in found if not any(one is not other and one in set(other.modules()) for other in found)]
    if len(outer) != 1:
        raise InputError(f"the {type(model).__name__} has {len(outer)} transformers, where one can be compressed")
    return outer[0]


def find_files(model: PreTrainedModel, directory: ModelDirectory) -> ModelDirectory:
    """Return the files to copy with a model from the directory it came from.

    Those of sentence-transformers are included only if the model is of the class that they use.
    """
    if directory.task is None:
        return directory
    wanted = get_model_class(directory, model.config)
    mapping = getattr(wanted, "_model_mapping", None)
    classes = mapping.get(type(model.config), ()) if mapping is not None else wanted
    same = type(model) in (classes if isinstance(classes, tuple | list) else (classes,))
    return directory if same else ModelDirectory(directory.top, directory.place)


def require_model(model: str | Path) -> None:
    """Check that a model exists before work on it begins.

    Raises:
        InputError: there is no such directory or file, and no model of that name on the hub.
    """
    if not is_gguf(model):
        find_directory(model)


def resolve_model(model: str | Path) -> Path:
    """Return the directory with a model's configuration and weights.

    In a sentence-transformers directory that is the folder of the transformer.

    Raises:
        InputError: there is no such directory, and no model of that name on the hub.
    """
    return find_directory(model).place


def open_config(model: str | Path) -> PretrainedConfig:
    """Load the configuration of a model, or of the transformer in its directory.

    Raises:
        InputError: there is no such model, or it has no configuration: it is a directory of adapters, or a GGUF file.
    """
    if is_gguf(model):
        raise InputError(f"{model}: a GGUF file can be compressed and evaluated as a language model, nothing else")
    directory = find_directory(model)
    if directory.holds_adapters:
        raise InputError(f"{model}: holds adapters; merge them into their model first (peft's merge_and_unload)")
    return load_config(directory.place)


def find_directory(model: str | Path) -> ModelDirectory:
    """Find the directory of a model, and download it from the hub if needed.

    Raises:
        InputError: there is no such directory, and no model of that name on the hub.
    """
    if not str(model).strip():
        raise InputError("the name of the model is empty; give a directory or the name of a model on the hub")
    directory = user_path(model)
    return ModelDirectory.read(directory if directory.is_dir() else _downloaded(str(model)))


def require_encoder(model: str | Path) -> None:
    """Check that a directory is a complete sentence encoder, before sentence-transformers opens it.

    sentence-transformers would make up what is missing, and run code in a local directory without asking.

    Raises:
        InputError: there is no such model, its transformer is for something else, weights or tokenizer are missing, or
            it comes with its own code.
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
            # On the meta device: the names of the stored tensors are enough.
            load_pretrained(get_model_class(own, config), directory.place, device_map="meta")
        load_tokenizer(directory.place)


def _downloaded(name: str) -> Path:
    try:
        directory = Path(snapshot_download(name, ignore_patterns=[*_UNWANTED, "pytorch_model*.bin"]))
        if not any(directory.rglob("*.safetensors")):
            # Old models have pickled weights only; torch loads these as plain tensors.
            directory = Path(snapshot_download(name, ignore_patterns=[*_UNWANTED]))
        return directory
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise InputError(f"{name}: neither a directory nor a model of the hub ({first_line(error)})") from error
