"""Strict ``from_pretrained``: refuses weights and tokens that transformers makes up where the files lack them."""

import logging
from collections.abc import Callable, Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.models.checkpoint import read_json
from dsformer.models.opening import check_config, opening
from dsformer.models.remote_code import trusted

logger = logging.getLogger(__name__)

_TOKENIZER = (
    *("tokenizer*", "vocab*", "merges.txt", "bpe.codes", "*.model", "*.spm", "special_tokens_map.json"),
    *("added_tokens.json", "chat_template.*"),
)
# Files of a tokenizer that are of no use without the others.
_BESIDE = ("special_tokens_map.json", "added_tokens.json", "chat_template.*")
# How many names a message lists; the others are counted.
_SHOWN = 3


def load_pretrained(
    loader: Any, place: str | Path, *, new: Callable[[str, PreTrainedModel, bool], bool] | None = None, **options: Any
) -> PreTrainedModel:
    """Load a model, and make sure that all of its weights come from its files.

    The pooler of a plain encoder that was saved without one is set to zero instead, since nothing reads it.

    Args:
        loader: a model class of transformers, or one of its Auto classes.
        place: the directory of the model.
        new: decides whether a missing tensor may be initialized anew, such as the head that a task needs. It is called
            with the tensor's name, the model, and whether the files have the tensor in another shape. None: no tensor
            may.
        options: passed on to ``from_pretrained``.

    Raises:
        InputError: the model cannot be loaded, or a tensor is missing.
    """
    with opening(place):
        model, found = loader.from_pretrained(place, output_loading_info=True, trust_remote_code=trusted(), **options)
    # transformers 4 reports names, transformers 5 names with shapes.
    reshaped = {_own_name(model, one if isinstance(one, str) else one[0]) for one in found["mismatched_keys"]}
    absent = reshaped.union(_own_name(model, name) for name in found["missing_keys"])
    missing = sorted(name for name in absent if new is None or not new(name, model, name in reshaped))
    spare = [name for name in missing if model.base_model is model and name.startswith("pooler.")]
    with torch.no_grad():
        for name in spare:
            model.get_parameter(name).zero_()
    if missing := [name for name in missing if name not in spare]:
        raise InputError(
            f"{place}: {len(missing)} weights of {type(model).__name__} are not in its files "
            f"({shorten_names(missing)}): they are damaged, or config.json is of another model"
        )
    return model


def _own_name(model: PreTrainedModel, name: str) -> str:
    """Return the name that a tensor has in the model.

    transformers 4 reports some tensors by the name they have in a file of the base model.
    """
    whole = f"{model.base_model_prefix}.{name}"
    names = model.state_dict().keys()
    return whole if name not in names and whole in names else name


def load_config(place: str | Path, **options: Any) -> PretrainedConfig:
    """Load the configuration of a model.

    Args:
        place: the directory of the model.
        options: passed on to ``from_pretrained``.

    Raises:
        InputError: the configuration is missing, or describes no model.
    """
    path = Path(place) / "config.json"
    if Path(place).is_dir() and "gguf_file" not in options:
        # transformers 4 would guess the model type from the directory's name.
        described = read_json(path) if path.is_file() else None
        if not isinstance(described, dict) or described.keys().isdisjoint(("model_type", "auto_map")):
            why = "names no model_type" if path.is_file() else "is missing"
            raise InputError(f"{place}: is not a model's directory: config.json {why}")
    with opening(place):
        config = AutoConfig.from_pretrained(place, trust_remote_code=trusted(), **options)
    check_config(config)
    return config


def load_tokenizer(place: str | Path) -> Any:
    """Load the tokenizer of a model.

    Raises:
        InputError: it cannot be loaded, or has no vocabulary. Where the files of the vocabulary are missing,
            transformers makes a tokenizer of a few special tokens, for which all text is unknown.
    """
    directory = Path(place)
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    if names and not any(is_of_tokenizer(name) and not fits(name, _BESIDE) for name in names):
        raise InputError(f"{place}: has no tokenizer; copy the model's own there")
    with opening(place):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=trusted())
    files = vocabulary_files(type(tokenizer))
    if directory.is_dir() and files and not any((directory / name).is_file() for name in files):
        raise InputError(
            f"{place}: has no tokenizer (none of {', '.join(sorted(files))}); copy that of the model there"
        )
    return tokenizer


def is_of_tokenizer(name: str) -> bool:
    """Return whether a file is one of those that most tokenizers consist of, by its name."""
    return fits(name, _TOKENIZER)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a file's name matches one of the glob patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def vocabulary_files(tokenizer_class: Any) -> set[str]:
    """Return the names of the files a tokenizer class reads its vocabulary from; empty if it needs none (ByT5)."""
    try:
        return set(getattr(tokenizer_class, "vocab_files_names", {}).values())
    except ImportError:  # a placeholder for a class whose library is not installed
        return set()


def shorten_names(names: Collection[str]) -> str:
    """Format the first of some names and the number of the others, for a message."""
    shown = ", ".join(list(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
