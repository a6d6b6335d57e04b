"""Latency of encoders on the same texts, from text to embeddings."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from dsformer.benchmarking.timing import Ratio, in_turn
from dsformer.evaluation import Encoder, encode
from dsformer.report.rows import LatencyRow
from dsformer_runtime import SentenceEncoder, UnsupportedModelError

MOST_PAIRS = 60


class NativeEncoder:
    """A model directory in the native runtime, with the interface of the other encoders.

    Args:
        runtime: the runtime's own encoder.
    """

    def __init__(self, runtime: Any):
        self._runtime = runtime

    def encode(self, sentences: Sequence[str], **_: Any) -> np.ndarray:
        """Embed sentences, one row each; batches are the runtime's own."""
        return np.asarray(self._runtime.encode(list(sentences)))


def native_encoder(directory: Path) -> Encoder | None:
    """Open a model in the native runtime, on torch's number of threads; None where it does not run such models."""
    try:
        return NativeEncoder(SentenceEncoder(directory, threads=torch.get_num_threads()))
    except UnsupportedModelError:
        return None


def compare_latency(
    batch: str,
    texts: Sequence[str],
    before: Encoder,
    after: Encoder,
    native: Encoder | None = None,
    seconds: float = 10.0,
) -> list[LatencyRow]:
    """Time encoders in alternation, after one untimed run of each: a row for every one after the first.

    Args:
        batch: a description of the texts.
        texts: embedded as one batch.
        before: the dense encoder.
        after: the compressed encoder.
        native: the compressed encoder in the native runtime, if that runs it.
        seconds: approximate time to spend.
    """
    encoders = {batch: after} | ({f"{batch}, native": native} if native is not None else {})
    runs = [partial(_run, one, texts) for one in (before, *encoders.values())]
    dense, *others = in_turn(runs, seconds, MOST_PAIRS)
    return [_row(name, dense, own) for name, own in zip(encoders, others, strict=True)]


def _row(name: str, dense: list[float], compressed: list[float]) -> LatencyRow:
    speedup = Ratio.of(dense, compressed)
    return LatencyRow(
        batch=name,
        before=median(dense),
        after=median(compressed),
        speedup=speedup.middle,
        low=speedup.low,
        high=speedup.high,
        pairs=len(dense),
    )


def _run(encoder: Encoder, texts: Sequence[str]) -> float:
    started = perf_counter()
    encode(encoder, texts, batch_size=len(texts))
    return perf_counter() - started
