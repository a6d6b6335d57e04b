"""Files beside the weights of a model: tokenizer, sentence-transformers modules, code and licence are copied."""

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
# Not copied, since they are written anew: configuration, weights (with merged adapters), model card, scores.
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
# Not copied, and logged: they belong to the model as it was before.
_OTHER_FORMATS = (
    *("model.*.safetensors*", "*.onnx", "*.onnx_data", "*.onnx.data", "*.gguf", "tf_model*.h5", "flax_model*.msgpack"),
    *("model.ckpt*", "rust_model.ot", "*.mlmodel", "consolidated*.*", "openvino_model*", "pytorch_model.*.bin*"),
)
_TRAINING = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth", "training_args.bin", "trainer_state.json")
_OTHER_FOLDERS = ("onnx", "openvino", "coreml")
_SENTENCES = (MODULES, "config_sentence_transformers.json", *TRANSFORMER_CONFIGS)
_TOKENIZER_FOLDERS = ("additional_chat_templates",)


def copy_auxiliary_files(source: ModelDirectory, target: Path, tokenizer: Any = None) -> None:
    """Copy all files but the weights to the target, and log which other files are not copied, and why.

    A file that the target already has is kept. The modules of a sentence-transformers model (pooling, normalization,
    ...) are copied too. Where its transformer is in a subdirectory, that moves to the top, beside the weights.

    Args:
        source: directory of the model that the target is made from.
        target: directory that already holds the new configuration and weights.
        tokenizer: saved instead of the source's; None: the files of the source's tokenizer are copied.

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
    # The transformer's folder comes first: its files are the ones that are loaded.
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
    """Read the YAML header of the source's model card.

    A header that cannot be parsed is logged, and an empty one returned.
    """
    card = source / "README.md"
    try:
        fields = metadata_load(card) if card.is_file() else {}
        return {name: value for name, value in (fields or {}).items() if isinstance(name, str)}
    except Exception as error:  # nobody validates this text, and the parser raises errors of many kinds
        logger.info("%s: left behind its header, which cannot be read (%s)", card, type(error).__name__)
        return {}


def _companions(place: Path, modules: set[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the files and folders of a directory that are not written anew, each with why it is not copied.

    The reason is empty for what is copied.
    """
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
    """Return why a folder is not copied; empty if it is."""
    if folder.is_symlink():
        return "a link to a folder"
    if folder.name in _OTHER_FOLDERS:
        return "weights in another format"
    if any(fits(path.name, ("*.safetensors", *_PICKLED, ADAPTER)) for path in folder.rglob("*")):
        return "a model of its own"
    return ""


def _copy(path: Path, target: Path) -> None:
    """Copy a file, or the files of a folder, unless the target already has them."""
    if path.is_dir():
        hidden = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(path, target, copy_function=_copy_new, dirs_exist_ok=True, ignore=hidden)
    elif path.is_file():
        _copy_new(path, target)


def _copy_new(file: str | Path, target: str | Path) -> None:
    if not Path(target).exists():
        shutil.copyfile(file, target)


def _write_modules(modules: list[dict[str, Any]], source: ModelDirectory, target: Path) -> None:
    for module in modules:
        if source.top / module["path"] == source.place:
            module["path"] = ""
    (target / MODULES).write_text(json.dumps(modules, indent=2), encoding="utf-8")


def _tokenizer_files(place: Path, tokenizer: Any) -> set[str]:
    """Return the names of the tokenizer's files in a directory, and of those that a new tokenizer writes there."""
    config = place / "tokenizer_config.json"
    try:
        name = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        name = None
    classes = [type(tokenizer), getattr(transformers, name, None) if isinstance(name, str) else None]
    known = {path.name for path in place.iterdir() if is_of_tokenizer(path.name)}
    return known.union(_TOKENIZER_FOLDERS, *map(vocabulary_files, classes))
