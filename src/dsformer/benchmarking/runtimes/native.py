"""The native runtime, ``dsformer-runtime``: a whole encoder without PyTorch, which takes texts without padding.

``open_encoder`` is the only place of this package that calls the runtime's own interface below ``SentenceEncoder``.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

import dsformer_runtime
from dsformer.benchmarking.runtimes.engine import Sessions, Texts
from dsformer.errors import InputError
from dsformer_runtime.errors import RuntimeInputError

TYPES = {"native": None, "native-fp32": "float32", "native-bf16": "bfloat16", "native-int8": "int8"}
"""Ways of the runtime, and the type in which each holds the weights; None: as they are stored."""


@runtime_checkable
class NativeEncoder(Protocol):
    """An encoder on a number of threads."""

    def __call__(
        self, ids: Int64[np.ndarray, " tokens"], lengths: Int64[np.ndarray, " texts"]
    ) -> Float32[np.ndarray, "tokens width"]:
        """Return the last hidden states of texts that stand one after another."""


def open_encoder(directory: Path, dtype: str | None, threads: int) -> NativeEncoder:
    """Open a model directory, compressed or dense, in the runtime.

    Args:
        directory: of configuration and weights.
        dtype: of ``TYPES``.
        threads: it runs on.

    Raises:
        InputError: the installed runtime has no encoder, or not of this family or type.
    """
    try:
        load_model, open_backend = (getattr(dsformer_runtime, name) for name in ("load_model", "open_backend"))
    except AttributeError as error:
        raise InputError("way native: the installed dsformer-runtime does not run whole encoders") from error
    try:
        backend = open_backend(load_model(directory, dtype).encoder, "native", threads=threads)
        return lambda ids, lengths: backend.run(ids, None, lengths)
    except RuntimeInputError as error:
        raise InputError(f"{directory}: the native runtime cannot run it ({error})") from error


class Native:
    """A model in the native runtime.

    Args:
        directory: of configuration and weights.
        dtype: of ``TYPES``.
    """

    path = None

    def __init__(self, directory: Path, dtype: str | None):
        self._sessions = Sessions(lambda threads: open_encoder(directory, dtype, threads))

    def prepare(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """Put the texts one after another; their lengths go with them."""
        lengths = np.array([len(ids) for ids in texts], np.int64)
        return np.concatenate([np.asarray(ids, np.int64) for ids in texts]), lengths

    def run(self, prepared: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Run one forward pass."""
        return self._sessions(*prepared)

    def outputs(self, texts: Texts) -> list[Tensor]:
        """Run texts as one batch and return the hidden states of each."""
        ids, lengths = self.prepare(texts)
        return list(torch.as_tensor(self.run((ids, lengths))).split(lengths.tolist()))
