"""What all tasks share: the encoder, head and tokenizer of a directory, and texts in batches."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from dsformer_runtime.artefact.directory import open_directory, read_object
from dsformer_runtime.backend import Backend, open_backend
from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.families.build import LoadedModel, load_model
from dsformer_runtime.model import Floats, Head, Pooling
from dsformer_runtime.reference import normalize
from dsformer_runtime.tokenization import Batch, Limits, Texts, TextTokenizer, find_limit

# Tokens that run at once, at most (a longer text runs alone), which bounds the memory of hidden states.
MOST_TOKENS = 8192
# Texts that are tokenized at once.
WINDOW = 1024


class TextModel:
    """An encoder that reads texts.

    Args:
        directory: of the model.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``; None: as they are stored.
        backend: ``native`` or ``reference``; None: the native one where it is there.
        threads: that a call may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: a file is missing or damaged, or the native library is asked for and missing.
        UnsupportedModelError: the model is of a kind that is not supported.
    """

    def __init__(
        self, directory: str | Path, dtype: str | None = None, backend: str | None = None, threads: int | None = None
    ):
        self.directory = open_directory(directory)
        loaded: LoadedModel = load_model(self.directory, dtype)
        self.config: Mapping[str, Any] = loaded.config
        self.encoder, self.head, self.task = loaded.encoder, loaded.head, loaded.task
        sentences = read_object(self.directory / "sentence_bert_config.json", needed=False)
        types = 0 if self.encoder.types is None else len(self.encoder.types)
        limit = find_limit(self.directory, self.config, self.encoder.longest)
        limits = Limits(limit, self.encoder.words.rows, types)
        self.tokenizer = TextTokenizer(self.directory, limits, sentences.get("do_lower_case") is True)
        self.backend: Backend = open_backend(self.encoder, backend, threads)

    @property
    def max_seq_length(self) -> int:
        """Number of tokens that texts are cut to."""
        return self.tokenizer.limits.tokens

    def need_head(self, task: str) -> Head:
        """Return the head.

        Raises:
            UnsupportedModelError: the model was not saved for this task.
        """
        if self.head is None or self.task != task:
            saved = str(self.config.get("architectures"))[:60]
            raise UnsupportedModelError(f"{self.directory}: the architectures {saved} have no head {task}")
        return self.head

    def run_pooled(self, batch: Batch, pooling: Pooling, normalized: bool = False) -> Floats:
        """Return a vector (texts, width) for each text of a batch; zeros for texts without tokens.

        Args:
            batch: of texts.
            pooling: how hidden states become one vector.
            normalized: whether vectors get the length 1.
        """
        there = batch.lengths > 0
        pooled = np.zeros((len(there), self.encoder.width), np.float32)
        if there.any():
            pooled[there] = self.backend.run_pooled(batch.ids, batch.types, batch.lengths[there], pooling, normalized)
        return pooled

    def run(self, batch: Batch) -> Floats:
        """Return the last hidden states (tokens, width) of a batch."""
        lengths = batch.lengths[batch.lengths > 0]
        if not len(lengths):
            return np.zeros((0, self.encoder.width), np.float32)
        return self.backend.run(batch.ids, batch.types, lengths)

    def run_head(self, head: Head, batch: Batch) -> Floats:
        """Return the outputs of a head, (texts, outputs) or, of one for tokens, (tokens, outputs)."""
        if head.pooling == "none":
            x = self.run(batch)
        else:
            x = self.run_pooled(batch, "cls" if head.pooling == "first" else "mean")
        for step in head.steps:
            x = self.backend.run_linear(step.linear, x, step.activation)
            x = x if step.norm is None else normalize(x, step.norm)
        return x

    def head_outputs(self, head: Head, texts: Texts, batch_size: int, show_progress: bool = False) -> Floats:
        """Return the outputs (texts, outputs) of a head for texts, in their order.

        Args:
            head: one for texts.
            texts: or pairs of texts.
            batch_size: texts that run at once, at most.
            show_progress: whether to write to stderr how many texts are done.
        """
        outputs = np.zeros((len(texts), head.outputs), np.float32)
        for numbers, _, batch in self.batches(texts, batch_size, show_progress):
            outputs[numbers] = self.run_head(head, batch)
        return outputs

    def batches(
        self, texts: Texts, batch_size: int, show_progress: bool = False
    ) -> Iterator[tuple[list[int], list[Encoding], Batch]]:
        """Yield texts in batches of similar length: their numbers, their tokens, and the batch.

        Args:
            texts: or pairs of texts.
            batch_size: texts of a batch, at most.
            show_progress: whether to write to stderr how many texts are done.

        Raises:
            RuntimeInputError: the batch size is not positive, or the tokenizer fails.
        """
        if type(batch_size) is not int or batch_size < 1:
            raise RuntimeInputError(f"batch_size: {batch_size!r} is not a positive whole number")
        order = sorted(range(len(texts)), key=lambda number: -_size(texts[number]))
        done = 0
        for start in range(0, len(order), WINDOW):
            window = order[start : start + WINDOW]
            encodings = self.tokenizer.encode([texts[number] for number in window])
            for chosen in group_by_size([len(one.ids) for one in encodings], batch_size):
                own = [encodings[place] for place in chosen]
                yield [window[place] for place in chosen], own, self.tokenizer.batch(own)
                done += len(chosen)
                if show_progress:
                    sys.stderr.write(f"\rTexts: {done}/{len(texts)}" + ("\n" if done == len(texts) else ""))


def group_by_size(sizes: Sequence[int], count: int) -> Iterator[list[int]]:
    """Yield the places of texts in groups of similar size, the largest first.

    Args:
        sizes: tokens of every text.
        count: texts of a group, at most; together they have at most ``MOST_TOKENS`` tokens.
    """
    group: list[int] = []
    total = 0
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if group and (len(group) == count or total + sizes[place] > MOST_TOKENS):
            yield group
            group, total = [], 0
        group.append(place)
        total += sizes[place]
    if group:
        yield group


def check_texts(texts: Any) -> tuple[list[str], bool]:
    """Return texts as a list, and whether it was one text alone.

    Raises:
        RuntimeInputError: something is not a string.
    """
    if isinstance(texts, str):
        return [texts], True
    try:
        listed = list(texts)
    except TypeError:
        raise RuntimeInputError(f"{type(texts).__name__} is neither a text nor a list of texts") from None
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise RuntimeInputError(f"text {number} is of the type {type(text).__name__}, not a string")
    return listed, False


def _size(text: str | tuple[str, str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
