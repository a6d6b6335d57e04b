"""Time of two encoders on the same texts, run in alternating pairs so that a busy machine troubles both alike."""

from collections.abc import Sequence
from statistics import median, quantiles
from time import perf_counter

from dsformer.evaluation import Encoder, encode
from dsformer.report.rows import LatencyRow

LEAST_PAIRS, MOST_PAIRS = 5, 60


def compare_latency(
    batch: str, texts: Sequence[str], before: Encoder, after: Encoder, seconds: float = 10.0
) -> LatencyRow:
    """Measure for about so many seconds, after one untimed run of each.

    Args:
        batch: what to call the texts.
        texts: embedded at once.
        before, after: the dense and the compressed encoder.
        seconds: time to spend.
    """
    _run(before, texts)
    _run(after, texts)
    pairs: list[tuple[float, float]] = []
    started = perf_counter()
    while len(pairs) < LEAST_PAIRS or (perf_counter() - started < seconds and len(pairs) < MOST_PAIRS):
        if len(pairs) % 2:
            second = _run(after, texts)
            pairs.append((_run(before, texts), second))
        else:
            pairs.append((_run(before, texts), _run(after, texts)))
    ratios = [dense / compressed for dense, compressed in pairs]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return LatencyRow(
        batch=batch,
        before=median(dense for dense, _ in pairs),
        after=median(compressed for _, compressed in pairs),
        speedup=middle,
        low=low,
        high=high,
        pairs=len(pairs),
    )


def _run(encoder: Encoder, texts: Sequence[str]) -> float:
    started = perf_counter()
    encode(encoder, texts, batch_size=len(texts))
    return perf_counter() - started
