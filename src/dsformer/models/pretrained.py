"""``from_pretrained`` that refuses what transformers makes up: weights and tokens that are not in the files."""

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
# Those among them that are of no use alone.
_BESIDE = ("special_tokens_map.json", "added_tokens.json", "chat_template.*")
# Names given in a message; the others are counted.
_SHOWN = 3


def load_pretrained(
    loader: Any, place: str | Path, *, new: Callable[[str, PreTrainedModel, bool], bool] | None = None, **options: Any
) -> PreTrainedModel:
    """A model all of whose weights are in its files.

    A pooler that nothing reads (that of a plain encoder saved without one) is set to zero instead.

    Args:
        loader: a class of transformers, or one of its Auto classes.
        place: the directory.
        new: told a missing tensor's name, the model, and whether the files have it in another shape: whether it may be
            made anew (a head that a task asks for); None: nothing may.
        options: passed on to ``from_pretrained``.

    Raises:
        InputError: it cannot be loaded, or a tensor is missing.
    """
    with opening(place):
        model, found = loader.from_pretrained(place, output_loading_info=True, trust_remote_code=trusted(), **options)
    # In transformers 4 their names, in 5 with their shapes.
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
    """What a model calls a tensor; transformers 4 tells some by the name that a file of the base model has."""
    whole = f"{model.base_model_prefix}.{name}"
    names = model.state_dict().keys()
    return whole if name not in names and whole in names else name


def load_config(place: str | Path, **options: Any) -> PretrainedConfig:
    """A model's configuration. Raises InputError: it is not there, or describes nothing."""
    path = Path(place) / "config.json"
    if Path(place).is_dir() and "gguf_file" not in options:
        # transformers 4 would guess the kind of model by the directory's name.
        described = read_json(path) if path.is_file() else None
        if not isinstance(described, dict) or described.keys().isdisjoint(("model_type", "auto_map")):
            why = "names no model_type" if path.is_file() else "is missing"
            raise InputError(f"{place}: is not a model's directory: config.json {why}")
    with opening(place):
        config = AutoConfig.from_pretrained(place, trust_remote_code=trusted(), **options)
    check_config(config)
    return config


def load_tokenizer(place: str | Path) -> Any:
    """A model's tokenizer.

    Raises:
        InputError: it cannot be loaded, or has no vocabulary of its own: transformers makes one of a few special tokens
            where the files are missing, for which all text is unknown.
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
    """Whether a file is one of those that most tokenizers are made of."""
    return fits(name, _TOKENIZER)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file's name is as one of the patterns says."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def vocabulary_files(tokenizer_class: Any) -> set[str]:
    """Names of the files a class of tokenizers reads its vocabulary from; empty for those that need none (ByT5)."""
    try:
        return set(getattr(tokenizer_class, "vocab_files_names", {}).values())
    except ImportError:  # a class that stands for one whose library is not installed
        return set()


def shorten_names(names: Collection[str]) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(list(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
