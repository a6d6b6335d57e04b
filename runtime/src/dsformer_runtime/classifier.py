"""Classifiers of texts, as the pipeline ``text-classification``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.labels import apply_function, default_function, read_labels
from dsformer_runtime.model import Floats
from dsformer_runtime.text_model import TextModel

TextInput = str | Mapping[str, str]


class Classifier:
    """A classifier of texts, or of pairs of texts.

    Args:
        directory: of the model.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``; None: as they are stored.
        backend: ``native`` or ``reference``; None: the native one where it is there.
        threads: that a call may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: a file is missing or damaged.
        UnsupportedModelError: the model is no classifier, or of a kind that is not supported.
    """

    def __init__(
        self, directory: str | Path, dtype: str | None = None, backend: str | None = None, threads: int | None = None
    ):
        self._text = TextModel(directory, dtype, backend, threads)
        self._head = self._text.need_head("ForSequenceClassification")
        self.labels = read_labels(self._text.config, self._head.outputs)
        self._function = default_function(self._text.config, self._head.outputs)

    def __call__(
        self,
        inputs: TextInput | Sequence[TextInput],
        top_k: int | Literal[""] | None = "",
        function_to_apply: str | None = None,
        batch_size: int = 32,
    ) -> list[Any] | dict[str, Any]:
        """Classify texts.

        Args:
            inputs: a text or several; a pair is ``{"text": ..., "text_pair": ...}``.
            top_k: number of labels to return, the likeliest first; None: all. Without it, the likeliest alone.
            function_to_apply: ``sigmoid``, ``softmax`` or ``none``; None: what the number of labels asks for.
            batch_size: texts that run at once, at most.

        Returns:
            For each text ``{"label": ..., "score": ...}`` or, with ``top_k``, a list of these. Of one text alone a list
            in both cases, as from the pipeline; of one pair alone without ``top_k`` the dictionary.

        Raises:
            RuntimeInputError: an argument is wrong.
        """
        alone = isinstance(inputs, str | Mapping)
        if not (alone or isinstance(inputs, Iterable)):
            raise RuntimeInputError(f"{type(inputs).__name__} is neither a text nor a list of texts")
        listed = [inputs] if alone else list(inputs)
        outputs = self.logits([_as_text(number, one) for number, one in enumerate(listed)], batch_size)
        scores = apply_function(self._function if function_to_apply is None else function_to_apply, outputs)
        if top_k == "":
            best = [self._named(row, 1)[0] for row in scores]
            return best[0] if isinstance(inputs, Mapping) else best
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise RuntimeInputError(f"top_k: {top_k!r:.40} is not a positive whole number")
        every = [self._named(row, top_k) for row in scores]
        return every[0] if alone else every

    def logits(self, texts: Sequence[str | tuple[str, str]], batch_size: int = 32) -> Floats:
        """Return the outputs (texts, labels) before any function.

        Args:
            texts: or pairs of texts.
            batch_size: texts that run at once, at most.
        """
        return self._text.head_outputs(self._head, texts, batch_size)

    def _named(self, scores: Floats, count: int | None) -> list[dict[str, Any]]:
        order = np.argsort(-scores, kind="stable")[:count]
        return [{"label": self.labels[place], "score": float(scores[place])} for place in order]


def _as_text(number: int, one: Any) -> str | tuple[str, str]:
    """Return a text or a pair of texts."""
    if isinstance(one, str):
        return one
    parts = (one.get("text"), one.get("text_pair")) if isinstance(one, Mapping) else (None, None)
    if not isinstance(parts[0], str) or not isinstance(parts[1], str | None):
        raise RuntimeInputError(f"input {number} is neither a string nor a dictionary of text and text_pair")
    return parts[0] if parts[1] is None else (parts[0], parts[1])
