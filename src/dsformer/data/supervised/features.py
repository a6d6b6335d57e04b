"""Features of examples: tokenization as in the example scripts of transformers (run_glue, run_qa …)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

from dsformer.data.supervised.encoded import EncodedExamples, compact
from dsformer.data.supervised.task import Examples, SupervisedTask
from dsformer.errors import InputError

IGNORED = -100
"""The label that losses of transformers ignore."""

# How many texts are tokenized at a time; bounds the memory that Python's lists of integers take.
_BATCH = 1000
# Neighbouring windows of a context share this many tokens, or a quarter of the length if that is less.
_STRIDE = 64
_SHORTEST_WINDOW = 32


def encode(
    task: SupervisedTask, examples: Examples, tokenizer: PreTrainedTokenizerBase, length: int
) -> EncodedExamples:
    """Tokenize examples of a task.

    Args:
        task: the task the examples are of.
        examples: the examples; they need not be a split of the task.
        tokenizer: the model's tokenizer. Token classification and question answering need a fast one.
        length: largest number of tokens in a feature. Texts are truncated to it; of a pair, the longer text first.
            Contexts of questions are read in overlapping windows, one feature each. For language modelling all texts
            are joined and cut into pieces of exactly this length; a shorter remainder is dropped.

    Returns:
        One feature per example; for question answering at least one, and for language modelling one per piece. The
            features hold the tokenizer's output and `labels`, or `start_positions` and `end_positions`; for masked
            language modelling the collator makes the labels.

    Raises:
        InputError: the tokenizer is not a fast one where it must be, the length is too short for questions, or there
            are no examples.
    """
    if not len(examples):
        raise InputError("There are no examples to tokenize")
    if task.kind == "question_answering":
        return _encode_questions(examples, tokenizer, length)
    if task.kind == "token_classification":
        return _encode_words(examples, tokenizer, length)
    if task.kind in ("masked_lm", "causal_lm"):
        return _encode_running_text(examples, tokenizer, length, causal=task.kind == "causal_lm")
    columns = _Columns()
    for part in _parts(examples):
        columns.add(tokenizer(list(part.texts), _list(part.pairs), truncation=True, max_length=length))
    return EncodedExamples({**columns.rows, "labels": examples.targets})


class _Columns:
    """The columns of features, collected from one batch after another."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, batch: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """Append the rows of a batch to the columns."""
        for name, rows in batch.items():
            self.rows[name] += compact(rows)


def _parts(examples: Examples) -> Iterator[Examples]:
    """Yield the examples in parts small enough to tokenize at a time."""
    for start in range(0, len(examples), _BATCH):
        yield examples.select(range(start, min(start + _BATCH, len(examples))))


def _list(pairs: tuple[str, ...] | None) -> list[str] | None:
    return None if pairs is None else list(pairs)


def _check_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise InputError(f"{type(tokenizer).__name__} cannot tell where tokens stand in the text; use a fast tokenizer")


def _encode_words(examples: Examples, tokenizer: PreTrainedTokenizerBase, length: int) -> EncodedExamples:
    """Tokenize sentences, and label the first token of every word.

    The words are joined by spaces and located again by their characters, since some tokenizers (RoBERTa's) take lists
    of words only if they were loaded for that.
    """
    _check_fast(tokenizer)
    columns = _Columns()
    words: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for part in _parts(examples):
        texts = [" ".join(sentence) for sentence in part.texts]
        batch = tokenizer(texts, truncation=True, max_length=length, return_offsets_mapping=True)
        for sentence, tags, offsets in zip(part.texts, part.targets, batch.pop("offset_mapping"), strict=True):
            firsts = _first_tokens(sentence, offsets)
            words.append(firsts)
            labels.append(np.where(firsts < 0, IGNORED, np.asarray(tags, np.int32)[firsts]))
        columns.add(batch)
    return EncodedExamples({**columns.rows, "labels": labels}, {"words": words})


def _first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return for every token the index of the word whose first token it is, else -1."""
    word_at = [index for index, word in enumerate(words) for _ in range(len(word) + 1)]
    for end in np.cumsum([len(word) + 1 for word in words]).tolist():
        word_at[end - 1] = -1  # the space after the word
    found = np.full(len(offsets), -1, np.int32)
    seen = -1
    for token, (begin, end) in enumerate(offsets):
        # The last character counts: some tokenizers include the space before a word in its first token.
        if begin < end and word_at[end - 1] > seen:
            found[token] = seen = word_at[end - 1]
    return found


def _encode_questions(examples: Examples, tokenizer: PreTrainedTokenizerBase, length: int) -> EncodedExamples:
    """Tokenize questions with overlapping windows of their contexts."""
    _check_fast(tokenizer)
    if length < _SHORTEST_WINDOW:
        raise InputError(f"Question answering needs a length of at least {_SHORTEST_WINDOW} tokens, not {length}")
    columns = _Columns()
    positions: dict[str, list[int]] = {"start_positions": [], "end_positions": []}
    alignment: dict[str, list[Any]] = {"example": [], "begins": [], "ends": [], "null": []}
    done = 0
    for part in _parts(examples):
        batch = tokenizer(
            _cut_questions(part.texts, tokenizer, length // 2),
            _list(part.pairs),
            truncation="only_second",
            max_length=length,
            stride=min(_STRIDE, length // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        owners = batch.pop("overflow_to_sample_mapping")
        for window, (owner, offsets) in enumerate(zip(owners, batch.pop("offset_mapping"), strict=True)):
            begins, ends = _context_characters(batch, window, offsets)
            null = _null_token(batch["input_ids"][window], tokenizer)
            start, end = _answer_tokens(part.targets[owner], begins, ends, null)
            for name, value in zip(alignment, (done + owner, begins, ends, null), strict=True):
                alignment[name].append(value)
            positions["start_positions"].append(start)
            positions["end_positions"].append(end)
        columns.add(batch)
        done += len(part)
    return EncodedExamples({**columns.rows, **positions}, alignment)


def _cut_questions(questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, tokens: int) -> list[str]:
    """Strip leading spaces from questions (some have hundreds), and truncate them so that a context still fits."""
    stripped = [question.lstrip() for question in questions]
    found = tokenizer(
        stripped, add_special_tokens=False, truncation=True, max_length=tokens, return_offsets_mapping=True
    )["offset_mapping"]
    return [
        text[: offsets[-1][1]] if len(offsets) == tokens else text
        for text, offsets in zip(stripped, found, strict=True)
    ]


def _context_characters(
    batch: BatchEncoding, window: int, offsets: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first character and the one after the last of every token, -1 outside of the context."""
    inside = np.asarray([sequence == 1 for sequence in batch.sequence_ids(window)])
    begins, ends = np.asarray(offsets, np.int32).reshape(-1, 2).T
    return np.where(inside, begins, -1), np.where(inside, ends, -1)


def _null_token(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the index of the token that stands for no answer: the CLS token, or the first."""
    return ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0


def _answer_tokens(
    answers: Sequence[tuple[str, int]], begins: np.ndarray, ends: np.ndarray, null: int
) -> tuple[int, int]:
    """Return the first and last token of the first answer.

    If the window does not hold all of the answer, both are the null token.
    """
    if not answers:
        return null, null
    text, begin = answers[0]
    end = begin + len(text)
    inside = np.flatnonzero(begins >= 0)
    if not len(inside) or begin < begins[inside[0]] or end > ends[inside[-1]]:
        return null, null
    start = inside[begins[inside] <= begin][-1]
    stop = inside[ends[inside] >= end][0]
    return int(start), int(stop)


def _encode_running_text(
    examples: Examples, tokenizer: PreTrainedTokenizerBase, length: int, *, causal: bool
) -> EncodedExamples:
    """Tokenize and join all texts, and cut them into pieces of the same length."""
    columns = _Columns()
    for part in _parts(examples):
        # Texts longer than the model's limit are no mistake here; verbose would warn about them.
        columns.add(tokenizer(list(part.texts), verbose=False))
    pieces: dict[str, list[np.ndarray]] = {}
    for name, rows in columns.rows.items():
        joined = np.concatenate(rows)
        count = len(joined) // length
        pieces[name] = list(joined[: count * length].reshape(count, length)) if count else [joined]
    return EncodedExamples({**pieces, "labels": pieces["input_ids"]} if causal else pieces)
