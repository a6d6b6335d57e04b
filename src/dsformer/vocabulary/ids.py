"""Token ids in the configurations of a model: which ones are needed, and how they are renumbered.

Besides single ids (``eos_token_id``) there are lists, lists of phrases, pairs of a position and an id, and
dictionaries. transformers' ``GenerationConfig`` and the configurations of Marian, BART, mBART and Whisper have all of
these.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel

Numbers = Mapping[int, int]

_SUFFIXES = ("_token_id", "_token_ids", "_token_index")
# Names in XLM and Flaubert.
_NAMES = ("bos_index", "eos_index", "pad_index", "unk_index", "mask_index")


def _one(value: Any, numbers: Numbers) -> Any:
    """Renumber an id or a list of ids; ids of removed tokens are dropped."""
    if isinstance(value, list | tuple):
        return [numbers[one] for one in value if one in numbers]
    return numbers.get(value)


def _phrases(value: Any, numbers: Numbers) -> Any:
    """Renumber nested lists of ids; a phrase is dropped if one of its tokens is removed."""
    if all(isinstance(one, int) for one in value):
        return [numbers[one] for one in value] if all(one in numbers for one in value) else []
    return [left for left in (_phrases(one, numbers) for one in value) if left]


def _forced(value: Any, numbers: Numbers) -> Any:
    """Renumber pairs of a position and an id; an id of None leaves the choice to the model."""
    return [[place, one if one is None else numbers[one]] for place, one in value if one is None or one in numbers]


def _biases(value: Any, numbers: Numbers) -> Any:
    """Renumber the biases of phrases: a dictionary keyed by tuples of ids, or a list of pairs as in JSON."""
    if isinstance(value, dict):
        return {tuple(left): bias for ids, bias in value.items() if (left := _phrases(ids, numbers))}
    return [[left, bias] for ids, bias in value if (left := _phrases(ids, numbers))]


def _by_name(value: Any, numbers: Numbers) -> Any:
    """Renumber a dictionary of names to ids."""
    return {name: numbers[one] for name, one in value.items() if one in numbers}


# Fields whose tokens are kept in any case: they are generated whatever the model predicts.
_WANTED: dict[str, Callable[[Any, Numbers], Any]] = {
    "forced_decoder_ids": _forced,
    "force_words_ids": _phrases,
    "lang_to_id": _by_name,
    "task_to_id": _by_name,
}
# Fields whose tokens may be removed: they are never generated, or rarely.
_UNWANTED: dict[str, Callable[[Any, Numbers], Any]] = {
    "suppress_tokens": _one,
    "begin_suppress_tokens": _one,
    "bad_words_ids": _phrases,
    "sequence_bias": _biases,
}


def needed_ids(model: PreTrainedModel, rows: int) -> set[int]:
    """Return the ids of tokens that the configurations of a model need.

    Args:
        model: the model.
        rows: number of rows of its embedding table; a configuration with another vocabulary size names other tokens.
    """
    found: set[int] = set()
    for config in _configs(model, rows):
        for name, value in _fields(config):
            if name not in _UNWANTED:
                found |= _all_ids(name, value)
    return found


def renumber(model: PreTrainedModel, rows: int, left: int, numbers: Numbers) -> None:
    """Renumber the ids in all configurations of a model, and drop those of removed tokens.

    Args:
        model: the model with its configurations, which are changed in place.
        rows: number of rows of the embedding table before.
        left: number of remaining rows.
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
    # Some logits processors refuse empty lists, which mean the same as None.
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
    """Yield the fields of a configuration that hold ids, by name; it is an object or a dictionary."""
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
    """List all configurations that name tokens of the embedding table.

    These are the model's, those inside it, the generation configuration, and the parameters of specific tasks.
    """
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
