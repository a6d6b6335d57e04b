"""Latency of two encoders on the same texts, from text to embeddings."""

from collections.abc import Sequence
from functools import partial
from statistics import median
from time import perf_counter

from dsformer.benchmarking.timing import Ratio, in_turn
from dsformer.evaluation import Encoder, encode
from dsformer.report.rows import LatencyRow

MOST_PAIRS = 60


def compare_latency(
    batch: str, texts: Sequence[str], before: Encoder, after: Encoder, seconds: float = 10.0
) -> LatencyRow:
    """Time two encoders in alternation, after one untimed run of each.

    Args:
        batch: a description of the texts.
        texts: embedded as one batch.
        before: the dense encoder.
        after: the compressed encoder.
        seconds: approximate time to spend.
    """
    dense, compressed = in_turn([partial(_run, before, texts), partial(_run, after, texts)], seconds, MOST_PAIRS)
    speedup = Ratio.of(dense, compressed)
    return LatencyRow(
        batch=batch,
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
