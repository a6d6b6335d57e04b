"""Ids of tokens in the configurations of a model: which there are, and what they become when tokens get other numbers.

Beside single ids (``eos_token_id``) there are lists, lists of phrases, pairs of a place and an id, and dictionaries;
transformers' ``GenerationConfig`` and the configurations of Marian, BART, mBART and Whisper have them all.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel

Numbers = Mapping[int, int]

_SUFFIXES = ("_token_id", "_token_ids", "_token_index")
# XLM's and Flaubert's.
_NAMES = ("bos_index", "eos_index", "pad_index", "unk_index", "mask_index")


def _one(value: Any, numbers: Numbers) -> Any:
    """An id, or a list of ids; those of tokens that are gone are dropped."""
    if isinstance(value, list | tuple):
        return [numbers[one] for one in value if one in numbers]
    return numbers.get(value)


def _phrases(value: Any, numbers: Numbers) -> Any:
    """Lists of ids, as deep as they are; a phrase cannot be said without one of its tokens."""
    if all(isinstance(one, int) for one in value):
        return [numbers[one] for one in value] if all(one in numbers for one in value) else []
    return [left for left in (_phrases(one, numbers) for one in value) if left]


def _forced(value: Any, numbers: Numbers) -> Any:
    """Pairs of a place and an id; None for the id leaves the choice to the model."""
    return [[place, one if one is None else numbers[one]] for place, one in value if one is None or one in numbers]


def _biases(value: Any, numbers: Numbers) -> Any:
    """Biases of phrases: a dictionary by tuples of ids, or as JSON has it a list of pairs."""
    if isinstance(value, dict):
        return {tuple(left): bias for ids, bias in value.items() if (left := _phrases(ids, numbers))}
    return [[left, bias] for ids, bias in value if (left := _phrases(ids, numbers))]


def _by_name(value: Any, numbers: Numbers) -> Any:
    return {name: numbers[one] for name, one in value.items() if one in numbers}


# Whose tokens stay in any case: they are said whatever the model thinks.
_WANTED: dict[str, Callable[[Any, Numbers], Any]] = {
    "forced_decoder_ids": _forced,
    "force_words_ids": _phrases,
    "lang_to_id": _by_name,
    "task_to_id": _by_name,
}
# Whose tokens may go: they are never said, or rarely.
_UNWANTED: dict[str, Callable[[Any, Numbers], Any]] = {
    "suppress_tokens": _one,
    "begin_suppress_tokens": _one,
    "bad_words_ids": _phrases,
    "sequence_bias": _biases,
}


def needed_ids(model: PreTrainedModel, rows: int) -> set[int]:
    """Ids of tokens that the configurations cannot do without.

    Args:
        model: the model.
        rows: of its table: configurations with a vocabulary of another size are of other tokens.
    """
    found: set[int] = set()
    for config in _configs(model, rows):
        for name, value in _fields(config):
            if name not in _UNWANTED:
                found |= _all_ids(name, value)
    return found


def renumber(model: PreTrainedModel, rows: int, left: int, numbers: Numbers) -> None:
    """Give the ids in all configurations their new numbers, and drop those of tokens that are gone.

    Args:
        model: with its generation configuration.
        rows: of the table as it was.
        left: rows of it that stay.
        numbers: new ids by old ones.
    """
    for config in _configs(model, rows):
        if getattr(config, "vocab_size", None) == rows:
            config.vocab_size = left
        for name, value in list(_fields(config)):
            _store(config, name, _changed(name, value, numbers))


def _changed(name: str, value: Any, numbers: Numbers) -> Any:
    how = (_WANTED | _UNWANTED).get(name, _one)
    changed = how(value, numbers)
    # Empty lists are refused by some processors of logits, and mean the same as none.
    return None if isinstance(changed, list | dict) and not changed else changed


def _all_ids(name: str, value: Any) -> set[int]:
    if name == "forced_decoder_ids":
        return {one for _, one in value if one is not None}
    if isinstance(value, dict):
        return {one for inner in value.values() for one in _all_ids("", inner)}
    if isinstance(value, list | tuple):
        return {one for inner in value for one in _all_ids("", inner)}
    return {value}


def _fields(config: Any) -> Iterator[tuple[str, Any]]:
    """The ids of a configuration, by the names of its fields; of an object's, or of a dictionary's."""
    values = config if isinstance(config, dict) else vars(config)
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | list | tuple | dict):
            continue
        if name in _WANTED or name in _UNWANTED or name in _NAMES or name.endswith(_SUFFIXES):
            yield name, value


def _store(config: Any, name: str, value: Any) -> None:
    if isinstance(config, dict):
        config[name] = value
    else:
        setattr(config, name, value)


def _configs(model: PreTrainedModel, rows: int) -> list[Any]:
    """All that name tokens of the table: the model's, those inside it, how it generates, and for which tasks."""
    found: list[Any] = []
    waiting = [model.config, getattr(model, "generation_config", None)]
    while waiting:
        config = waiting.pop()
        if config is None or any(config is one for one in found):
            continue
        if config is model.config or getattr(config, "vocab_size", rows) == rows:
            found.append(config)
        waiting += [value for value in vars(config).values() if hasattr(value, "to_dict")]
        tasks = getattr(config, "task_specific_params", None)
        found += [one for one in tasks.values() if isinstance(one, dict)] if isinstance(tasks, dict) else []
    return found
