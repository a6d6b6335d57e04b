"""What runs an encoder: the native kernels, or the reference where these are missing."""

import warnings
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Activation, EncoderModel, Floats, Integers, Linear, Pooling
from dsformer_runtime.reference import ReferenceEncoder, activate, run_linear

BACKENDS = (None, "native", "reference")
# Shorter vectors are divided by this instead of their length.
_SHORTEST = 1e-12


class Backend(Protocol):
    """Runs an encoder, and linear layers of heads. Texts stand one after another without padding."""

    def run(self, ids: Integers, types: Integers | None, lengths: Integers) -> Floats:
        """Return the last hidden states (tokens, width).

        Args:
            ids: (tokens,) of the tokens.
            types: (tokens,) of the tokens; None: all are of type 0.
            lengths: (texts,) tokens of each text, at least 1.
        """
        ...

    def run_pooled(
        self, ids: Integers, types: Integers | None, lengths: Integers, pooling: Pooling, normalize: bool
    ) -> Floats:
        """Return a vector (texts, width) for each text.

        Args:
            ids: (tokens,) of the tokens.
            types: (tokens,) of the tokens; None: all are of type 0.
            lengths: (texts,) tokens of each text, at least 1.
            pooling: mean or largest numbers of all tokens, or the first token.
            normalize: whether vectors get the length 1.
        """
        ...

    def run_linear(self, linear: Linear, x: Floats, activation: Activation) -> Floats:
        """Return the outputs (rows, out) of a linear layer and the activation after it.

        Args:
            linear: the layer.
            x: (rows, in).
            activation: of the outputs.
        """
        ...


class ReferenceBackend(ReferenceEncoder):
    """The reference as a backend. It is slow."""

    def run_pooled(
        self, ids: Integers, types: Integers | None, lengths: Integers, pooling: Pooling, normalize: bool
    ) -> Floats:
        """Return a vector (texts, width) for each text. Arguments as of ``Backend.run_pooled``."""
        hidden = self.run(ids, types, lengths)
        starts = np.cumsum(lengths) - lengths
        if pooling == "cls":
            pooled = hidden[starts]
        elif pooling == "max":
            pooled = np.maximum.reduceat(hidden, starts)
        else:
            pooled = np.add.reduceat(hidden, starts) / np.asarray(lengths, np.float32)[:, None]
        return scale_to_one(pooled) if normalize else pooled

    def run_linear(self, linear: Linear, x: Floats, activation: Activation) -> Floats:
        """Return the outputs (rows, out) of a layer. Arguments as of ``Backend.run_linear``."""
        return activate(run_linear(linear, x), activation)


def open_backend(model: EncoderModel, name: str | None = None, threads: int | None = None) -> Backend:
    """Prepare an encoder for running.

    Args:
        model: the encoder.
        name: ``native`` or ``reference``; None: the native one where it is there, otherwise the reference, with a
            warning.
        threads: that a call of the native one may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: the name is another, or the native library is asked for and missing.
    """
    if name not in BACKENDS:
        raise RuntimeInputError(f"backend: {name!r} is not native, reference or None")
    if name == "reference":
        return ReferenceBackend(model)
    found = _open_native(model, threads)
    if found is not None:
        return found
    if name == "native":
        raise RuntimeInputError("the native library of dsformer-runtime is missing for this platform")
    warnings.warn(
        "the native library of dsformer-runtime is missing for this platform: NumPy runs the model, slowly",
        stacklevel=4,
    )
    return ReferenceBackend(model)


def scale_to_one(rows: NDArray) -> Floats:
    """Return rows scaled to length 1."""
    lengths = np.sqrt((rows * rows).sum(-1, keepdims=True))
    return rows / np.maximum(lengths, np.float32(_SHORTEST))


def _open_native(model: EncoderModel, threads: int | None) -> Backend | None:
    """Return the native backend; None where its module or its library is missing."""
    try:
        from dsformer_runtime.native import encoder
        from dsformer_runtime.native.library import open_library
    except ImportError:
        return None
    return None if open_library() is None else encoder.NativeEncoder(model, threads)
