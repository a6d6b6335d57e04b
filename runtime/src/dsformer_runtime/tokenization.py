"""Texts to token ids, as the tokenizers of transformers make them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from tokenizers import Encoding, Tokenizer, decoders
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from dsformer_runtime.artefact.directory import read_object
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Integers

_MAX_BYTES = 1 << 28
_WORDS = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
Texts = Sequence[str | tuple[str, str]]


@dataclass(frozen=True)
class Batch:
    """Texts of a batch, one after another without padding.

    Attributes:
        ids: (tokens,).
        types: (tokens,); None: all are 0, or the model has none.
        lengths: (texts,) tokens of each text.
    """

    ids: Integers
    types: Integers | None
    lengths: Integers


@dataclass(frozen=True)
class Limits:
    """What a model can read.

    Attributes:
        tokens: of a text.
        rows: of the embedding of tokens.
        types: token types; fewer than 2: they are not told apart.
    """

    tokens: int
    rows: int
    types: int


class TextTokenizer:
    """The tokenizer of a directory.

    Args:
        directory: with ``tokenizer.json``, or the ``vocab.txt`` of a BERT.
        limits: of the model.
        lowercase: whether texts are lower-cased first, whatever the tokenizer does.

    Raises:
        RuntimeInputError: there is no tokenizer, or it is damaged.
    """

    def __init__(self, directory: Path, limits: Limits, lowercase: bool = False):
        self.settings = read_object(directory / "tokenizer_config.json", needed=False)
        self._place, self.limits, self._lowercase = directory, limits, lowercase
        names = self.settings.get("model_input_names")
        self._typed = limits.types > 1 and not (isinstance(names, list) and "token_type_ids" not in names)
        self._shared = self._open()
        self._truncate(self._shared, limits.tokens, 0, "longest_first")

    def encode(self, texts: Texts) -> list[Encoding]:
        """Return the tokens of texts, or of pairs of texts, cut to the limit.

        Raises:
            RuntimeInputError: the tokenizer fails.
        """
        return self._run(self._shared, texts)

    def encode_windows(self, pair: tuple[str, str], tokens: int, stride: int) -> list[Encoding]:
        """Return a pair of texts in windows over the second, which together hold all of it.

        Args:
            pair: of texts.
            tokens: of a window, at most.
            stride: tokens that a window shares with the one before.

        Raises:
            RuntimeInputError: the first text leaves no room, or the tokenizer fails.
        """
        tokenizer = self._windows
        self._truncate(tokenizer, min(tokens, self.limits.tokens), stride, "only_second")
        whole = self._run(tokenizer, [pair])[0]
        return [whole, *whole.overflowing]

    def batch(self, encodings: Sequence[Encoding]) -> Batch:
        """Return texts one after another.

        Raises:
            RuntimeInputError: the model has no such token or token type, or no room for the tokens that the tokenizer
                adds.
        """
        ids = np.array([number for one in encodings for number in one.ids], np.int64)
        lengths = np.array([len(one.ids) for one in encodings], np.int32)
        if lengths.size and int(lengths.max()) > self.limits.tokens:
            raise RuntimeInputError(f"{self._place}: {lengths.max()} tokens where {self.limits.tokens} have room")
        if ids.size and int(ids.max()) >= self.limits.rows:
            raise RuntimeInputError(f"{self._place}: token {ids.max()} of the tokenizer is not one of the model")
        types = None
        if self._typed:
            types = np.array([number for one in encodings for number in one.type_ids], np.int32)
            if types.size and int(types.max()) >= self.limits.types:
                raise RuntimeInputError(f"{self._place}: the tokenizer has more than {self.limits.types} token types")
            types = types if types.any() else None
        return Batch(ids.astype(np.int32), types, lengths)

    def special(self, name: str) -> str | None:
        """Return a special token by its name in the tokenizer's configuration, such as ``cls_token``."""
        token = self.settings.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        return token if isinstance(token, str) else None

    def token_to_id(self, token: str | None) -> int | None:
        """Return the id of a token; None if there is none."""
        return None if token is None else self._shared.token_to_id(token)

    @property
    def continues_words(self) -> bool:
        """Whether tokens inside of words are marked as such."""
        return bool(getattr(self._shared.model, "continuing_subword_prefix", None))

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens, as transformers' ``convert_tokens_to_string`` does."""
        decoder = self._shared.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))

    @cached_property
    def _windows(self) -> Tokenizer:
        """A second tokenizer, which is cut in another way."""
        return self._open()

    def _open(self) -> Tokenizer:
        path, words = self._place / "tokenizer.json", self._place / "vocab.txt"
        try:
            if path.is_file():
                tokenizer = Tokenizer.from_str(_read(path))
            elif words.is_file():
                tokenizer = _from_words(_read(words), self.settings)
            else:
                raise RuntimeInputError(f"{self._place}: no tokenizer.json")
            tokenizer.no_padding()
            tokenizer.no_truncation()
            if self._lowercase:
                own = tokenizer.normalizer
                tokenizer.normalizer = Lowercase() if own is None else Normalizers([Lowercase(), own])
            return tokenizer
        except BaseException as error:
            raise _problem(self._place, "the tokenizer is damaged", error) from None

    def _truncate(self, tokenizer: Tokenizer, tokens: int, stride: int, strategy: str) -> None:
        side = "left" if self.settings.get("truncation_side") == "left" else "right"
        try:
            tokenizer.enable_truncation(tokens, stride=stride, strategy=strategy, direction=side)
        except BaseException as error:
            raise _problem(self._place, f"texts cannot be cut to {tokens} tokens", error) from None

    def _run(self, tokenizer: Tokenizer, texts: Texts) -> list[Encoding]:
        try:
            return tokenizer.encode_batch(list(texts))
        except BaseException as error:
            raise _problem(self._place, "the tokenizer fails", error) from None


def _problem(place: Path, what: str, error: BaseException) -> BaseException:
    """Return the error to raise. A failed assertion of the tokenizers library is no ``Exception``."""
    if isinstance(error, RuntimeInputError | KeyboardInterrupt | SystemExit | MemoryError):
        return error
    first = (str(error).splitlines() or [""])[0]
    return RuntimeInputError(f"{place}: {what} ({first[:200]})")


def _read(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise RuntimeInputError(f"{path}: too large")
    return path.read_text(encoding="utf-8")


def _from_words(words: str, settings: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer of a BERT of which only the list of tokens is there."""
    ids = {word: number for number, word in enumerate(words.splitlines())}
    special = {
        name: settings.get(name) if isinstance(settings.get(name), str) else usual for name, usual in _WORDS.items()
    }
    unknown, first, last = (str(special[name]) for name in _WORDS)
    if missing := [word for word in (unknown, first, last) if word not in ids]:
        raise RuntimeInputError(f"vocab.txt has no {missing[0]}")
    tokenizer = Tokenizer(WordPiece(ids, unk_token=unknown))
    accents = settings.get("strip_accents")
    tokenizer.normalizer = BertNormalizer(
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True) is True,
        strip_accents=accents if isinstance(accents, bool) else None,
        lowercase=settings.get("do_lower_case", True) is True,
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0",
        pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(first, ids[first]), (last, ids[last])],
    )
    tokenizer.add_special_tokens([word for word in (unknown, first, last, "[PAD]", "[MASK]") if word in ids])
    return tokenizer


def find_limit(directory: Path, config: Mapping[str, Any], longest: int) -> int:
    """Return the number of tokens that texts are cut to, as sentence-transformers finds it.

    Args:
        directory: of the model.
        config: of the model.
        longest: number of tokens that the model can read at all.
    """
    own = read_object(directory / "sentence_bert_config.json", needed=False).get("max_seq_length")
    if type(own) is not int or own < 1:
        said = (read_object(directory / "tokenizer_config.json", needed=False).get("model_max_length"), longest)
        own = int(min(one for one in (*said, config.get("max_position_embeddings")) if _is_limit(one)))
    return min(own, longest)


def _is_limit(value: Any) -> TypeGuard[int]:
    return isinstance(value, int | float) and 1 <= value < 2**31
