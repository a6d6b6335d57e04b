"""Fidelity: how close a model's embeddings are to those of the model it was made from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from dsformer.data.banking77 import load
from dsformer.data.subset import even_indices
from dsformer.errors import InputError
from dsformer.evaluation.encoder import Encoder, encode
from dsformer.evaluation.score import Inputs, Score
from dsformer.evaluation.similarity import row_cosines


def measure(inputs: Inputs) -> Score:
    """Measure the mean cosine (times 100) between both models' embeddings of the test queries of banking77.

    These queries are not among the bundled calibration texts. The spread is the standard deviation over the queries.

    Raises:
        InputError: the embeddings of the original have another width, or the data cannot be read.
    """
    assert inputs.original is not None  # the task is registered as needing it, so `evaluate` has asked for it
    texts = load(inputs.data_dir).test.texts
    kept = [texts[index] for index in even_indices(len(texts), inputs.limit)]
    cosines = 100 * embedding_cosines(inputs.encoder, inputs.original, kept, progress=inputs.progress)
    return Score("fidelity", "cosine to original", float(cosines.mean()), float(cosines.std()), len(kept))


def embedding_cosines(
    encoder: Encoder, original: Encoder, texts: Sequence[str], *, progress: bool = False
) -> Float32[np.ndarray, " texts"]:
    """Compute the cosine (-1 to 1) between the two models' embeddings of each text.

    Args:
        encoder: the model measured.
        original: the model it was made from.
        texts: the texts to embed with both.
        progress: whether to show progress bars.

    Raises:
        InputError: the embeddings differ in width, or are not finite.
    """
    ours = encode(encoder, texts, progress=progress)
    theirs = encode(original, texts, progress=progress)
    if ours.shape != theirs.shape:
        raise InputError(f"The models' embeddings differ in width: {ours.shape[1]} and {theirs.shape[1]}")
    return row_cosines(ours, theirs)
