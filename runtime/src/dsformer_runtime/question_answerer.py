"""Answers to questions, as the pipeline ``question-answering`` finds them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.model import Floats
from dsformer_runtime.reference import softmax
from dsformer_runtime.text_model import TextModel, group_by_size

_LONGEST, _STRIDE = 384, 128
_OUTSIDE = np.float32(-10000)
Answer = dict[str, Any]


class QuestionAnswerer:
    """A model that finds the answer to a question in a text.

    Args:
        directory: of the model.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``; None: as they are stored.
        backend: ``native`` or ``reference``; None: the native one where it is there.
        threads: that a call may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: a file is missing or damaged.
        UnsupportedModelError: the model does not answer questions, or is of a kind that is not supported.
    """

    def __init__(
        self, directory: str | Path, dtype: str | None = None, backend: str | None = None, threads: int | None = None
    ):
        self._text = TextModel(directory, dtype, backend, threads)
        self._head = self._text.need_head("ForQuestionAnswering")
        if self._head.outputs != 2:
            raise UnsupportedModelError(f"{directory}: {self._head.outputs} outputs instead of start and end")
        tokenizer = self._text.tokenizer
        self._first = tokenizer.token_to_id(tokenizer.special("cls_token") or "[CLS]")

    def __call__(
        self,
        question: str | Mapping[str, str] | Sequence[Any],
        context: str | Sequence[str] | None = None,
        top_k: int = 1,
        doc_stride: int | None = None,
        max_answer_len: int = 15,
        max_seq_len: int | None = None,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        """Find answers.

        Args:
            question: one or several, or without ``context`` one or several of ``{"question": ..., "context": ...}``.
            context: the text of each question, or one for all.
            top_k: number of answers to return, at most.
            doc_stride: tokens that neighbouring windows of a long text share; None: 128, or half of a window.
            max_answer_len: tokens of an answer, at most.
            max_seq_len: tokens of a window, the question included; None: 384, or what the model can read.
            handle_impossible_answer: whether the empty answer is one, too.
            align_to_words: whether answers are widened to whole words.

        Returns:
            For each question ``{"score": ..., "start": ..., "end": ..., "answer": ...}`` with places in characters, or
            a list of these where there are several answers. Of one question alone, this without a list around it.

        Raises:
            RuntimeInputError: an argument is wrong, or a question leaves no room for its text.
        """
        pairs, alone = _check_questions(question, context)
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            if type(value) is not int or value < 1:
                raise RuntimeInputError(f"{name}: {value!r:.40} is not a positive whole number")
        longest = min(self._text.max_seq_length, _LONGEST) if max_seq_len is None else max_seq_len
        stride = min(longest // 2, _STRIDE) if doc_stride is None else doc_stride
        if type(longest) is not int or type(stride) is not int or not 0 <= stride <= longest:
            raise RuntimeInputError(f"doc_stride {stride!r:.40} and max_seq_len {longest!r:.40} are not possible")
        answers = []
        for pair in pairs:
            windows = self._text.tokenizer.encode_windows(pair, longest, stride)
            found: list[Answer] = []
            nothing = 1_000_000.0
            for window, outputs in self._run(windows):
                wanted, starts, ends = self._probabilities(window, outputs)
                nothing = min(nothing, float(starts[0] * ends[0]))
                starts[0] = ends[0] = 0
                count = 2 * top_k + 10 if align_to_words else top_k
                for start, end, score in _best_spans(starts, ends, wanted, count, max_answer_len):
                    _add(found, pair[1], _places(window, start, end, align_to_words), score)
            if handle_impossible_answer:
                found.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
            found = sorted(found, key=lambda one: one["score"], reverse=True)[:top_k]
            answers.append(found[0] if len(found) == 1 else found)
        return answers[0] if alone else answers

    def _run(self, windows: list[Encoding]) -> Iterator[tuple[Encoding, Floats]]:
        """Yield every window, in order, with the outputs (tokens, 2)."""
        outputs: dict[int, Floats] = {}
        for chosen in group_by_size([len(one.ids) for one in windows], len(windows)):
            batch = self._text.tokenizer.batch([windows[place] for place in chosen])
            parts = np.split(self._text.run_head(self._head, batch), np.cumsum(batch.lengths)[:-1])
            outputs |= dict(zip(chosen, parts, strict=True))
        for place, window in enumerate(windows):
            yield window, outputs[place]

    def _probabilities(self, window: Encoding, outputs: Floats) -> tuple[NDArray[np.bool_], Floats, Floats]:
        """Return which tokens may be in an answer, and the probabilities that it starts and ends at each."""
        first = np.array([number == self._first for number in window.ids])
        wanted = np.array([part == 1 for part in window.sequence_ids]) | first
        starts, ends = softmax(np.where(wanted[:, None], outputs, _OUTSIDE).T)
        return wanted, starts, ends


def _best_spans(
    starts: Floats, ends: Floats, wanted: NDArray[np.bool_], count: int, longest: int
) -> Iterator[tuple[int, int, float]]:
    """Yield the likeliest spans: start, end and score.

    Args:
        starts: probabilities that the answer starts at each token.
        ends: probabilities that it ends there.
        wanted: tokens that may be in an answer.
        count: spans, at most.
        longest: tokens of a span, at most.
    """
    scores = np.tril(np.triu(np.outer(starts, ends)), longest - 1)
    flat = scores.reshape(-1)
    if count == 1:
        order = np.array([flat.argmax()])
    elif len(flat) <= count:
        order = np.argsort(-flat, kind="stable")
    else:
        order = np.argpartition(-flat, count)[:count]
        order = order[np.argsort(-flat[order])]
    for start, end in zip(*np.unravel_index(order, scores.shape), strict=True):
        # The others have a score of 0.
        if wanted[start] and wanted[end] and start <= end < start + longest:
            yield int(start), int(end), float(scores[start, end])


def _places(window: Encoding, start: int, end: int, align: bool) -> tuple[int, int]:
    """Return the first character of a span of tokens and that after its last."""
    if align:
        words = window.token_to_word(start), window.token_to_word(end)
        if words[0] is not None and words[1] is not None:
            spans = window.word_to_chars(words[0], 1), window.word_to_chars(words[1], 1)
            if spans[0] is not None and spans[1] is not None:
                return spans[0][0], spans[1][1]
    return window.offsets[start][0], window.offsets[end][1]


def _add(answers: list[Answer], text: str, places: tuple[int, int], score: float) -> None:
    """Add an answer, or its score to an equal one."""
    words = text[places[0] : places[1]]
    same = next((one for one in answers if one["answer"].lower() == words.lower()), None)
    if same is None:
        answers.append({"score": score, "start": places[0], "end": places[1], "answer": words})
    else:
        same["score"] += score


def _check_questions(question: Any, context: Any) -> tuple[list[tuple[str, str]], bool]:
    """Return pairs of question and text, and whether it was one question alone.

    Raises:
        RuntimeInputError: something is not a string, or empty.
    """
    alone = isinstance(question, str | Mapping)
    questions = _listed([question] if alone else question)
    if context is None:
        parts = [one if isinstance(one, Mapping) else {} for one in questions]
        pairs = [(one.get("question"), one.get("context")) for one in parts]
    else:
        contexts = [context] * len(questions) if isinstance(context, str) else _listed(context)
        if len(questions) != len(contexts):
            raise RuntimeInputError(f"{len(questions)} questions, but {len(contexts)} texts")
        pairs = list(zip(questions, contexts, strict=True))
    for number, pair in enumerate(pairs):
        if not all(isinstance(text, str) and text for text in pair):
            raise RuntimeInputError(f"question {number}: question and context are not two texts")
    return [(str(first), str(second)) for first, second in pairs], alone


def _listed(values: Any) -> list[Any]:
    """Return values as a list.

    Raises:
        RuntimeInputError: they are none.
    """
    try:
        return list(values)
    except TypeError:
        raise RuntimeInputError(f"{type(values).__name__} is neither a text nor a list of texts") from None
