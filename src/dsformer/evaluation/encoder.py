"""Sentence encoders: loading one from a directory, and embedding texts with it."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from dsformer.errors import InputError, MissingExtraError
from dsformer.models.opening import opening
from dsformer.models.remote_code import trusted
from dsformer.models.source import quiet, require_encoder
from dsformer.utils.atomic_io import user_path


@runtime_checkable
class Encoder(Protocol):
    """Interface of a sentence encoder; a `sentence_transformers.SentenceTransformer` has it."""

    @property
    def encode(self) -> Callable[..., Any]:
        """Function that embeds a list of texts, with the options of `SentenceTransformer.encode`."""


def load_encoder(model: str | os.PathLike[str] | Encoder, device: str | None = None) -> Encoder:
    """Load a sentence encoder from a model directory; one that is already loaded is returned as it is.

    Args:
        model: a directory that `SentenceTransformer` loads (compressed or not), a Hugging Face model name, or a
            `SentenceTransformer`.
        device: where to load it, such as "cpu" or "cuda"; by default the fastest device available.

    Raises:
        InputError: there is no such model, or `SentenceTransformer` cannot load it.
        MissingExtraError: sentence-transformers is not installed.
    """
    if not isinstance(model, str | os.PathLike):
        if not isinstance(model, Encoder):
            raise InputError(f"Expected a model directory or a SentenceTransformer, not {type(model).__name__}")
        return model
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("Evaluation of sentence encoders", "evaluate") from error
    name = os.fspath(model)
    place = user_path(name)
    with quiet():
        try:
            require_encoder(name)
        except InputError as error:
            raise InputError(f"{name}: cannot be opened as a sentence encoder ({error})") from error
        with opening(name, "as a sentence encoder"):
            found = str(place) if place.is_dir() else name
            return SentenceTransformer(found, device=device, trust_remote_code=trusted())


def encode(
    encoder: Encoder, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False
) -> Float32[np.ndarray, "texts width"]:
    """Embed texts, one row each, in the order given.

    `SentenceTransformer` sorts the texts by length before it cuts them into batches, so there is little padding. The
    model's default prompt is prepended if it has one, and no other prompt.

    Args:
        encoder: the sentence encoder.
        texts: the texts.
        batch_size: number of texts in a batch.
        progress: whether to show a progress bar.

    Raises:
        InputError: as for `finite`.
    """
    rows = encoder.encode(list(texts), batch_size=batch_size, show_progress_bar=progress, convert_to_numpy=True)
    return finite(np.asarray(rows, dtype=np.float32))


def finite(embeddings: Float32[np.ndarray, "texts width"]) -> Float32[np.ndarray, "texts width"]:
    """Check that all values of embeddings are finite, and return the embeddings.

    Raises:
        InputError: a value is infinite or NaN, as happens when weights are damaged or overflow.
    """
    if not np.isfinite(embeddings).all():
        raise InputError("The model gives embeddings that are infinite or not a number; its weights may be damaged")
    return embeddings


def unit_rows(embeddings: Float32[np.ndarray, "texts width"]) -> Float32[np.ndarray, "texts width"]:
    """Scale rows to length 1, so that their dot products are cosines; a row of zeros stays zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
