"""Which tokens stay, so that texts of them are tokenized as they were."""

import json
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dsformer.errors import InputError

# Texts tokenized at once.
CHUNK = 1024
_MARKS = ("##", "▁", "Ġ", "</w>")


def kept_tokens(tokenizer: Any, texts: Sequence[str], also: Iterable[int] = ()) -> list[int]:
    """Ids that stay, ascending.

    Those of the texts; special and added ones; all single characters of these texts and of ASCII, so that few words
    become unknown; and with byte-pair encoding everything that those are merged from. A text all of whose tokens stay
    is tokenized as before: the longest match, the best sum of scores, or the merges are still there, and there are only
    fewer rivals.

    Args:
        also: further ids.
    """
    vocabulary = tokenizer.get_vocab()
    kept = {*also, *tokenizer.all_special_ids, *(tokenizer.get_added_vocab().values())}
    for ids in each_encoded(tokenizer, texts):
        kept.update(ids)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    by_id = {number: token for token, number in vocabulary.items()}
    if model["type"] == "BPE":
        kept |= _ingredients(model, vocabulary, [by_id[i] for i in kept if i in by_id])
    else:
        kept |= _characters(vocabulary, texts)
    return sorted(kept & by_id.keys())


def encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts, whole, without special tokens."""
    return tokenizer(list(texts), add_special_tokens=False, truncation=False)["input_ids"]


def each_encoded(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    """The same of very many texts, one after another."""
    for start in range(0, len(texts), CHUNK):
        yield from encoded(tokenizer, texts[start : start + CHUNK])


def _characters(vocabulary: dict[str, int], texts: Sequence[str]) -> set[int]:
    wanted = set(string.printable)
    for text in texts:
        wanted.update(text)
        wanted.update(text.lower())
    found = set()
    for token, number in vocabulary.items():
        bare = token
        for mark in _MARKS:
            bare = bare.removeprefix(mark).removesuffix(mark)
        if len(bare) <= 1 and (not bare or bare in wanted):
            found.add(number)
    return found


def _ingredients(model: dict[str, Any], vocabulary: dict[str, int], tokens: Sequence[str]) -> set[int]:
    """Everything tokens can be merged from, and all bytes or characters."""
    parts: dict[str, list[str]] = {}
    for merge in model["merges"]:
        first, second = split_merge(merge)
        parts.setdefault(merged(model, first, second), []).extend((first, second))
    found = {number for token, number in vocabulary.items() if len(token) == 1}
    open_ends, seen = list(tokens), set(tokens)
    while open_ends:
        for part in parts.get(open_ends.pop(), ()):
            if part not in seen:
                seen.add(part)
                open_ends.append(part)
    return found | {vocabulary[token] for token in seen if token in vocabulary}


def split_merge(merge: str | Sequence[str]) -> tuple[str, str]:
    """The two tokens of a merge, in either notation. Raises InputError for none of them."""
    pair = merge.split(" ") if isinstance(merge, str) else list(merge)
    if len(pair) != 2:
        raise InputError(f"vocabulary: the tokenizer has a merge of {len(pair)} tokens")
    return pair[0], pair[1]


def merged(model: dict[str, Any], first: str, second: str) -> str:
    """The token that two are merged to."""
    prefix = model.get("continuing_subword_prefix") or ""
    return first + (second.removeprefix(prefix) if prefix else second)
