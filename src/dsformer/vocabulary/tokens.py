"""Choice of the tokens to keep, so that texts that consist of them are tokenized as before."""

import json
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from dsformer.errors import InputError

# How many texts are tokenized at once.
CHUNK = 1024
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_MARKS = ("##", "▁", "Ġ", "</w>")


def choose_tokens(tokenizer: Any, texts: Sequence[str], also: Iterable[int] = ()) -> list[int]:
    """Choose the ids of the tokens to keep, in ascending order.

    Kept are the tokens of the texts; special and added tokens, and all that the tokenizer itself names; the bytes that
    unknown characters fall back to; and all single characters of these texts and of ASCII, so that few words become
    unknown. With byte-pair encoding all single characters are kept, and everything that the kept tokens are merged
    from. A text all of whose tokens are kept is tokenized as before: the longest match, the best sum of scores, or the
    merges still exist, and there are only fewer rivals.

    Args:
        tokenizer: a fast tokenizer.
        texts: texts of the kind that the model will be used on.
        also: further ids to keep.
    """
    vocabulary = tokenizer.get_vocab()
    kept = {*also, *tokenizer.all_special_ids, *(tokenizer.get_added_vocab().values())}
    for ids in each_encoded(tokenizer, texts):
        kept.update(ids)
    fields = json.loads(tokenizer.backend_tokenizer.to_str())
    model = fields["model"]
    kept |= _named(fields, vocabulary)
    by_id = {number: token for token, number in vocabulary.items()}
    kept |= _characters(vocabulary, _marks(model), _wanted(fields, texts))
    if model["type"] == "BPE":
        kept |= _ingredients(model, vocabulary, [by_id[i] for i in kept if i in by_id])
    return sorted(kept & by_id.keys())


def encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokenize texts in full, without special tokens, and return their ids."""
    return tokenizer(list(texts), add_special_tokens=False, truncation=False)["input_ids"]


def each_encoded(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield the ids of one text after another, as :func:`encoded`; suits very many texts."""
    for start in range(0, len(texts), CHUNK):
        yield from encoded(tokenizer, texts[start : start + CHUNK])


def _named(fields: dict[str, Any], vocabulary: dict[str, int]) -> set[int]:
    """Return the ids that the tokenizer itself names: unknown token, fallback bytes, tokens put around texts."""
    model, found = fields["model"], set(_ids(fields.get("post_processor")))
    unknown = model.get("unk_token")
    if unknown in vocabulary:
        found.add(vocabulary[unknown])
    if model.get("unk_id") is not None:
        found.add(model["unk_id"])
    if model.get("byte_fallback"):
        found |= {number for token, number in vocabulary.items() if _BYTE.fullmatch(token)}
    return found


def _ids(part: Any) -> Iterator[int]:
    """Yield the ids of special tokens in a post-processor: ``"ids": [101]`` or ``"cls": ["[CLS]", 101]``."""
    if isinstance(part, list):
        for one in part:
            yield from _ids(one)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "ids":
                yield from value
            elif key in ("sep", "cls") and isinstance(value, list):
                yield value[1]
            else:
                yield from _ids(value)


def _wanted(fields: dict[str, Any], texts: Sequence[str]) -> set[str] | None:
    """Return the characters to keep; None for all."""
    if fields["model"]["type"] == "BPE":
        return None
    wanted = set(string.printable)
    for text in texts:
        wanted.update(text)
        wanted.update(text.lower())
    # Bytes are written as letters, and a text may need any of them.
    if '"ByteLevel"' in json.dumps([fields.get("normalizer"), fields.get("pre_tokenizer")]):
        wanted.update(ByteLevel.alphabet())
    return wanted


def _marks(model: dict[str, Any]) -> list[str]:
    """Return the prefixes and suffixes that tokens of one character may have."""
    own = [mark for name in ("continuing_subword_prefix", "end_of_word_suffix") if (mark := model.get(name))]
    # With byte-pair encoding, tokens with the marks of other kinds are merged, not given.
    return own if model["type"] == "BPE" else [*_MARKS, *own]


def _characters(vocabulary: dict[str, int], marks: Sequence[str], wanted: set[str] | None) -> set[int]:
    """Return the ids of tokens of one character, marks not counted; ``wanted`` limits the characters."""
    found = set()
    for token, number in vocabulary.items():
        bare = token
        for mark in marks:
            bare = bare.removeprefix(mark).removesuffix(mark)
        single = len(bare) <= 1 or len(token) == 1
        if single and (wanted is None or not bare or bare in wanted or token in wanted):
            found.add(number)
    return found


def _ingredients(model: dict[str, Any], vocabulary: dict[str, int], tokens: Sequence[str]) -> set[int]:
    """Return the ids of some tokens, and of all tokens that these can be merged from."""
    parts: dict[str, list[str]] = {}
    for merge in model["merges"]:
        first, second = split_merge(merge)
        parts.setdefault(merged(model, first, second), []).extend((first, second))
    open_ends, seen = list(tokens), set(tokens)
    while open_ends:
        for part in parts.get(open_ends.pop(), ()):
            if part not in seen:
                seen.add(part)
                open_ends.append(part)
    return {vocabulary[token] for token in seen if token in vocabulary}


def split_merge(merge: str | Sequence[str]) -> tuple[str, str]:
    """Split a merge into its two tokens, in either notation.

    Raises:
        InputError: it does not have two tokens.
    """
    pair = merge.split(" ") if isinstance(merge, str) else list(merge)
    if len(pair) != 2:
        raise InputError(f"vocabulary: the tokenizer has a merge of {len(pair)} tokens")
    return pair[0], pair[1]


def merged(model: dict[str, Any], first: str, second: str) -> str:
    """Return the token that two tokens are merged to.

    Args:
        model: the tokenizer's model, as in ``tokenizer.json``.
        first: the first token.
        second: the second token; the prefix that marks the continuation of a word is dropped.
    """
    prefix = model.get("continuing_subword_prefix") or ""
    return first + (second.removeprefix(prefix) if prefix else second)
