"""Opening of a directory as what it was saved for."""

from pathlib import Path
from typing import Any

from dsformer_runtime.artefact.directory import CONFIG, open_directory, read_object
from dsformer_runtime.classifier import Classifier
from dsformer_runtime.question_answerer import QuestionAnswerer
from dsformer_runtime.reranker import Reranker
from dsformer_runtime.sentence_encoder import MODULES, SentenceEncoder
from dsformer_runtime.token_classifier import TokenClassifier

Task = SentenceEncoder | Reranker | Classifier | TokenClassifier | QuestionAnswerer


def load(
    directory: str | Path, dtype: str | None = None, backend: str | None = None, threads: int | None = None
) -> Task:
    """Load a model as what it was saved for.

    ``modules.json`` makes it a sentence encoder, or a reranker if CrossEncoder wrote it. Otherwise the architecture in
    ``config.json`` decides; a classifier of texts with one label is a reranker, and an encoder without a head a
    sentence encoder that averages hidden states.

    Args:
        directory: of the model.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``; None: as they are stored.
        backend: ``native`` or ``reference``; None: the native one where it is there.
        threads: that a call may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: a file is missing or damaged.
        UnsupportedModelError: the model is of a kind that is not supported.
    """
    place = open_directory(directory)
    settings = read_object(place / "config_sentence_transformers.json", needed=False)
    if (place / MODULES).is_file() and settings.get("model_type") != "CrossEncoder":
        return SentenceEncoder(place, dtype, backend, threads)
    config = read_object(place / CONFIG)
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    if name.endswith("ForTokenClassification"):
        return TokenClassifier(place, dtype, backend, threads)
    if name.endswith("ForQuestionAnswering"):
        return QuestionAnswerer(place, dtype, backend, threads)
    if not name.endswith("ForSequenceClassification"):
        return SentenceEncoder(place, dtype, backend, threads)
    kind: Any = Reranker if _is_reranker(config, settings) else Classifier
    return kind(place, dtype, backend, threads)


def _is_reranker(config: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Return whether a classifier of texts was saved by CrossEncoder, or has one label."""
    said = settings.get("model_type") == "CrossEncoder" or "sbert_ce_default_activation_function" in config
    labels = config.get("id2label")
    one = isinstance(labels, dict) and len(labels) == 1
    return said or "sentence_transformers" in config or one
