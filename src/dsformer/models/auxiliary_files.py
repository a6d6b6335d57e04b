"""What travels with a model beside its weights: tokenizer, modules, code, licence; everything but what is replaced."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.repocard import metadata_load

from dsformer.errors import InputError
from dsformer.models.checkpoint import INDEX, WEIGHTS
from dsformer.models.directory import ADAPTER, MODULES, TRANSFORMER_CONFIGS, ModelDirectory, read_modules
from dsformer.models.pretrained import fits, is_of_tokenizer, shorten_names, vocabulary_files

logger = logging.getLogger(__name__)

_PICKLED = ("pytorch_model.bin", "pytorch_model-?????-of-?????.bin", "pytorch_model.bin.index.json")
# Written anew: the configuration, the weights (and adapters merged into them), the model card, the scores.
_REPLACED = (
    *(
        "config.json",
        "README.md",
        "metrics.json",
        ADAPTER,
        "adapter_model.*",
        WEIGHTS,
        INDEX,
        "model-?????-of-?????.safetensors",
    ),
    *_PICKLED,
)
# Left behind and said: they are of the model as it was.
_OTHER_FORMATS = (
    *("model.*.safetensors*", "*.onnx", "*.onnx_data", "*.onnx.data", "*.gguf", "tf_model*.h5", "flax_model*.msgpack"),
    *("model.ckpt*", "rust_model.ot", "*.mlmodel", "consolidated*.*", "openvino_model*", "pytorch_model.*.bin*"),
)
_TRAINING = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth", "training_args.bin", "trainer_state.json")
_OTHER_FOLDERS = ("onnx", "openvino", "coreml")
_SENTENCES = (MODULES, "config_sentence_transformers.json", *TRANSFORMER_CONFIGS)
_TOKENIZER_FOLDERS = ("additional_chat_templates",)


def copy_auxiliary_files(source: ModelDirectory, target: Path, tokenizer: Any = None) -> None:
    """Copy everything but weights and what stands in the target already; say what else was left behind, and why.

    The modules of a sentence-transformers model (pooling, normalization, ...) come with it; where those keep the
    transformer in a subdirectory, it moves to the top, beside the weights.

    Args:
        source: what was compressed.
        target: where the new configuration and weights are already.
        tokenizer: saved instead of the source's; None: that one's files are copied.

    Raises:
        InputError: the source is not a directory, or its list of modules cannot be followed.
    """
    if not source.top.is_dir():
        raise InputError(f"{source.top}: no such directory")
    modules = read_modules(source.top / MODULES) if (source.top / MODULES).is_file() else []
    folders = {(source.top / module["path"]).resolve() for module in modules if module["path"]}
    skipped = _tokenizer_files(source.place, tokenizer) if tokenizer is not None else set()
    if source.task is None and modules:
        skipped |= {*_SENTENCES, *(folder.name for folder in folders)}
        folders = set()
    left: dict[str, list[str]] = {}
    # Those of the transformer's own folder come first: it is what is loaded.
    for place in dict.fromkeys((source.place, source.top)):
        for path, why in _companions(place, folders):
            if why:
                left.setdefault(why, []).append(path.name)
            elif path.name not in skipped and path.resolve() != source.place.resolve():
                _copy(path, target / path.name)
    if modules and source.task is not None:
        _write_modules(modules, source, target)
    if tokenizer is not None:
        tokenizer.save_pretrained(target)
    for why, names in left.items():
        logger.info("%s: left behind %s (%s)", source.top, shorten_names(names), why)


def read_card_metadata(source: Path) -> dict[str, Any]:
    """The header of the source's model card; one that cannot be read is left behind, and said."""
    card = source / "README.md"
    try:
        fields = metadata_load(card) if card.is_file() else {}
        return {name: value for name, value in (fields or {}).items() if isinstance(name, str)}
    except Exception as error:  # a text that nobody checks: the parser's errors are of many kinds
        logger.info("%s: left behind its header, which cannot be read (%s)", card, type(error).__name__)
        return {}


def _companions(place: Path, modules: set[Path]) -> Iterator[tuple[Path, str]]:
    """What is in a directory, and why it has to stay there; empty: it travels."""
    for path in sorted(place.iterdir()):
        if path.name.startswith(".") or fits(path.name, _REPLACED):
            continue
        if path.is_dir():
            yield path, "" if path.resolve() in modules else _why_not(path)
        elif fits(path.name, _OTHER_FORMATS):
            yield path, "weights in another format"
        else:
            yield path, "the state of a training" if fits(path.name, _TRAINING) else ""


def _why_not(folder: Path) -> str:
    if folder.is_symlink():
        return "a link to a folder"
    if folder.name in _OTHER_FOLDERS:
        return "weights in another format"
    if any(fits(path.name, ("*.safetensors", *_PICKLED, ADAPTER)) for path in folder.rglob("*")):
        return "a model of its own"
    return ""


def _copy(path: Path, target: Path) -> None:
    """What stands there already stays."""
    if path.is_dir():
        hidden = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(path, target, copy_function=shutil.copyfile, dirs_exist_ok=True, ignore=hidden)
    elif path.is_file() and not target.exists():
        shutil.copyfile(path, target)


def _write_modules(modules: list[dict[str, Any]], source: ModelDirectory, target: Path) -> None:
    for module in modules:
        if source.top / module["path"] == source.place:
            module["path"] = ""
    (target / MODULES).write_text(json.dumps(modules, indent=2), encoding="utf-8")


def _tokenizer_files(place: Path, tokenizer: Any) -> set[str]:
    """The files of the tokenizer in a directory, and those that another one will write there."""
    config = place / "tokenizer_config.json"
    try:
        name = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        name = None
    classes = [type(tokenizer), getattr(transformers, name, None) if isinstance(name, str) else None]
    known = {path.name for path in place.iterdir() if is_of_tokenizer(path.name)}
    return known.union(_TOKENIZER_FOLDERS, *map(vocabulary_files, classes))
