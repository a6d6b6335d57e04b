"""Rewriting a tokenizer with fewer tokens, by its ``tokenizer.json``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from dsformer.errors import InputError
from dsformer.utils.atomic_io import scratch_directory
from dsformer.vocabulary.tokens import merged, split_merge

# Files that a tokenizer is loaded from. All other files with a vocabulary would hold the old one.
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def rewrite_tokenizer(tokenizer: Any, numbers: Mapping[int, int]) -> Any:
    """Build the tokenizer of the same class with new ids; tokens without a new id are removed.

    Args:
        tokenizer: a fast tokenizer.
        numbers: new ids by old ones.

    Raises:
        InputError: the tokenizer is of a kind that cannot be rewritten.
    """
    with scratch_directory() as place:
        tokenizer.save_pretrained(place)
        for file in place.iterdir():
            if file.name not in FILES:
                file.unlink()
        fields = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))
        fields["model"] = _model(fields["model"], numbers)
        for token in fields["added_tokens"]:
            token["id"] = numbers[token["id"]]
        fields["post_processor"] = _renumbered(fields["post_processor"], numbers)
        if fields.get("padding"):
            fields["padding"]["pad_id"] = numbers.get(fields["padding"]["pad_id"], 0)
        (place / "tokenizer.json").write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
        _settings(place / "tokenizer_config.json", numbers)
        return AutoTokenizer.from_pretrained(place)


def _model(model: dict[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    """Rewrite the model of a tokenizer: its vocabulary, and with byte-pair encoding its merges."""
    kind = model["type"]
    if kind == "Unigram":
        pieces = [piece for i, piece in enumerate(model["vocab"]) if i in numbers]
        unknown = model.get("unk_id")
        return {**model, "vocab": pieces, "unk_id": None if unknown is None else numbers[unknown]}
    if kind not in ("WordPiece", "WordLevel", "BPE"):
        raise InputError(f"vocabulary: tokenizers of the kind {kind} cannot be rewritten")
    vocabulary = {token: numbers[number] for token, number in model["vocab"].items() if number in numbers}
    changed = {**model, "vocab": vocabulary}
    if kind == "BPE":
        changed["merges"] = [merge for merge in model["merges"] if _can_stay(model, split_merge(merge), vocabulary)]
    return changed


def _can_stay(model: dict[str, Any], merge: tuple[str, str], vocabulary: Mapping[str, int]) -> bool:
    """Return whether both tokens of a merge, and the one they are merged to, remain."""
    return all(token in vocabulary for token in (*merge, merged(model, *merge)))


def _renumbered(part: Any, numbers: Mapping[int, int]) -> Any:
    """Renumber a post-processor, in which special tokens appear as ``"ids": [101]`` or ``"cls": ["[CLS]", 101]``."""
    if isinstance(part, list):
        return [_renumbered(one, numbers) for one in part]
    if not isinstance(part, dict):
        return part
    changed = {}
    for key, value in part.items():
        if key == "ids":
            changed[key] = [numbers[number] for number in value]
        elif key in ("sep", "cls") and isinstance(value, list):
            changed[key] = [value[0], numbers[value[1]]]
        else:
            changed[key] = _renumbered(value, numbers)
    return changed


def _settings(path: Path, numbers: Mapping[int, int]) -> None:
    """Renumber the added tokens in ``tokenizer_config.json``, which are also listed there by id."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    added = settings.get("added_tokens_decoder")
    if isinstance(added, dict):
        settings["added_tokens_decoder"] = {str(numbers[int(number)]): token for number, token in added.items()}
        path.write_text(json.dumps(settings, ensure_ascii=False, indent=2), encoding="utf-8")
