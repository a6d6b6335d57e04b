"""Rerankers: scores of pairs of texts, as ``CrossEncoder.predict`` computes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsformer_runtime.artefact.directory import read_object
from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.model import Floats
from dsformer_runtime.reference import activate, sigmoid, softmax
from dsformer_runtime.text_model import TextModel

_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "Sigmoid": sigmoid,
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: activate(x, "relu"),
    "GELU": lambda x: activate(x, "gelu"),
    "SiLU": lambda x: activate(x, "silu"),
    "Softmax": softmax,
}


class Reranker:
    """A cross encoder with the scores of ``CrossEncoder``.

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
        self._settings = read_object(self._text.directory / "config_sentence_transformers.json", needed=False)
        self._activation = self._find_activation()

    @property
    def max_length(self) -> int:
        """Number of tokens that pairs are cut to."""
        return self._text.max_seq_length

    def predict(
        self,
        sentences: Sequence[Any],
        batch_size: int = 32,
        show_progress_bar: bool = False,
        apply_softmax: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> Floats:
        """Return the scores of pairs, float32 (pairs,), or (pairs, labels) of a model with several.

        Args:
            sentences: pairs of texts, or one pair, whose score is returned without the first axis.
            batch_size: pairs that run at once, at most; results do not depend on it.
            show_progress_bar: whether to write to stderr how many pairs are done.
            apply_softmax: whether several labels of a pair get probabilities.
            prompt_name: name of the prompt that stands before every first text.
            prompt: that stands before every first text; the name is ignored then.

        Raises:
            RuntimeInputError: an argument is wrong.
        """
        pairs, alone = _check_pairs(sentences)
        before = self._find_prompt(prompt, prompt_name)
        pairs = [(before + first, second) for first, second in pairs]
        scores = self._activation(self._text.head_outputs(self._head, pairs, batch_size, show_progress_bar))
        if self._head.outputs == 1:
            scores = scores[:, 0]
        elif apply_softmax:
            scores = softmax(scores)
        return scores[0] if alone else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int = 32,
    ) -> list[dict[str, Any]]:
        """Return documents by their score for a query, the highest first.

        Args:
            query: the first text of every pair.
            documents: the second ones.
            top_k: number of documents to return; None: all.
            return_documents: whether the results have the documents' texts.
            batch_size: pairs that run at once, at most.

        Returns:
            For each document ``{"corpus_id": its number, "score": ...}``, and ``"text"``.

        Raises:
            RuntimeInputError: an argument is wrong, or the model has several labels.
        """
        if self._head.outputs != 1:
            raise RuntimeInputError("a model with several labels cannot rank; use predict")
        scores = self.predict([(query, document) for document in documents], batch_size)
        results: list[dict[str, Any]] = [
            {"corpus_id": number, "score": float(score)} for number, score in enumerate(scores)
        ]
        for result in results if return_documents else []:
            result["text"] = documents[result["corpus_id"]]
        return sorted(results, key=lambda one: one["score"], reverse=True)[:top_k]

    def _find_activation(self) -> Callable[[Floats], Floats]:
        """Return the activation that a configuration names, or that of the number of labels."""
        config = self._text.config
        own = config.get("sentence_transformers")
        name = self._settings.get("activation_fn")
        if name is None:
            name = own.get("activation_fn") if isinstance(own, dict) else None
        if name is None:
            name = config.get("sbert_ce_default_activation_function")
        if not isinstance(name, str) or not name.startswith("torch."):
            return _ACTIVATIONS["Sigmoid" if self._head.outputs == 1 else "Identity"]
        kind = name.rpartition(".")[2]
        if kind not in _ACTIVATIONS:
            raise UnsupportedModelError(f"{self._text.directory}: the activation {name[:60]!r} is not supported")
        return _ACTIVATIONS[kind]

    def _find_prompt(self, prompt: str | None, name: str | None) -> str:
        """Return the text that stands before every first text."""
        prompts = self._settings.get("prompts")
        prompts = prompts if isinstance(prompts, dict) else {}
        if prompt is None and name is not None and not isinstance(prompts.get(name), str):
            raise RuntimeInputError(f"prompt_name: {name!r:.60} is not one of {', '.join(map(str, prompts))}")
        chosen = prompts.get(self._settings.get("default_prompt_name") if name is None else name)
        chosen = chosen if prompt is None else prompt
        return chosen if isinstance(chosen, str) else ""


def _check_pairs(sentences: Any) -> tuple[list[tuple[str, str]], bool]:
    """Return pairs as a list, and whether it was one pair alone.

    Raises:
        RuntimeInputError: something is not a pair of strings.
    """
    if isinstance(sentences, str):
        raise RuntimeInputError("a text alone is not a pair of texts")
    try:
        listed = list(sentences)
    except TypeError:
        raise RuntimeInputError(f"{type(sentences).__name__} is not a list of pairs of texts") from None
    alone = len(listed) > 0 and isinstance(listed[0], str)
    pairs = [listed] if alone else listed
    for number, pair in enumerate(pairs):
        whole = not isinstance(pair, str) and hasattr(pair, "__len__") and len(pair) == 2
        if not whole or not all(isinstance(text, str) for text in pair):
            raise RuntimeInputError(f"pair {number} is not two strings")
    return [(str(first), str(second)) for first, second in pairs], alone
