"""Latency and throughput of contenders over batch sizes, lengths and numbers of threads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from dsformer.benchmarking.engines import Batch, Contender, open_contenders
from dsformer.benchmarking.timing import Ratio, in_turn
from dsformer.data import bundled_passages
from dsformer.errors import InputError
from dsformer.models.checkpoint import first_line
from dsformer.models.remote_code import trusting
from dsformer.utils.hardware import check_threads
from dsformer.utils.progress import Progress, silent

# Passages that long texts are put together from.
PASSAGES = 64


@dataclass(frozen=True)
class Setting:
    """What is measured: so many texts of so many tokens, on so many threads."""

    batch: int
    length: int
    threads: int


@dataclass(frozen=True)
class Measurement:
    """One contender in one setting.

    Attributes:
        median, p95: seconds of a batch.
        throughput: tokens a second, at the median.
        speedup: time of the first contender / time of this one, round by round.
        rounds: how often.
    """

    contender: str
    setting: Setting
    median: float
    p95: float
    throughput: float
    speedup: Ratio
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    contenders: Sequence[Contender],
    batches: Sequence[int] = (1, 8),
    lengths: Sequence[int] = (16, 128),
    threads: Sequence[int] | None = None,
    seconds: float = 5.0,
    progress: Progress = silent,
) -> list[Measurement]:
    """Measure all contenders in turn in every setting.

    Args:
        contenders: speed-ups are over the first.
        threads: numbers of threads; as many as torch has if None.
        seconds: about how long each setting takes, beside one untimed run of each contender.

    Raises:
        InputError: one cannot read texts of these lengths.
    """
    for count in threads or ():
        check_threads(count, "threads")
    if not 0 <= seconds < float("inf"):
        raise InputError(f"seconds: {seconds} is not a number of seconds")
    require_length(contenders, min(batches), max(lengths))
    before = torch.get_num_threads()
    settings = [Setting(*one) for one in product(batches, lengths, threads or [before])]
    found: list[Measurement] = []
    try:
        for i, setting in enumerate(settings):
            progress("benchmark", i, len(settings))
            torch.set_num_threads(setting.threads)
            runs = [partial(one.seconds, batch_of(one, setting)) for one in contenders]
            times = in_turn(runs, seconds)
            found += [_measured(one, setting, own, times[0]) for one, own in zip(contenders, times, strict=True)]
    finally:
        torch.set_num_threads(before)
    progress("benchmark", len(settings), len(settings))
    return found


def benchmark(
    models: Sequence[str | Path],
    ways: Sequence[str] = ("eager",),
    batches: Sequence[int] = (1, 8),
    lengths: Sequence[int] = (16, 128),
    threads: Sequence[int] | None = None,
    seconds: float = 5.0,
    trust_remote_code: bool = False,
) -> list[Measurement]:
    """Open models, each in every way that can run it, and :func:`measure` them; speed-ups are over the first of all.

    Args:
        models: directories or hub names.
        ways: of ``WAYS``.
        batches, lengths, threads, seconds: as of :func:`measure`.
        trust_remote_code: run Python code that comes with the models.

    Raises:
        InputError: there is no such model or way.
    """
    with trusting(trust_remote_code):
        contenders = open_contenders(models, ways)
    return measure(contenders, batches, lengths, threads, seconds)


def require_length(contenders: Sequence[Contender], batch: int, length: int) -> None:
    """Try a batch that will be measured, so that what is compiled for it is used again.

    Raises:
        InputError: a model cannot read texts of this length.
    """
    for one in contenders:
        try:
            one.run(batch_of(one, Setting(batch, length, torch.get_num_threads())))
        except (IndexError, RuntimeError, ValueError) as error:
            raise InputError(f"{one.name}: cannot read a text of {length} tokens ({first_line(error)})") from error


def batch_of(contender: Contender, setting: Setting) -> Batch:
    """Real text, cut to the length exactly."""
    text = " ".join(bundled_passages(PASSAGES))
    ids = contender.tokenizer(text, truncation=True, max_length=setting.length)["input_ids"]
    ids = (ids * (-(-setting.length // len(ids))))[: setting.length]
    rows = torch.tensor([ids]).expand(setting.batch, -1).contiguous()
    own = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
    return {**own, "decoder_input_ids": rows} if contender.decodes else own


def _measured(contender: Contender, setting: Setting, times: list[float], first: list[float]) -> Measurement:
    middle = median(times)
    return Measurement(
        contender=contender.name,
        setting=setting,
        median=middle,
        p95=quantiles(times, n=20, method="inclusive")[-1],
        throughput=setting.batch * setting.length / middle,
        speedup=Ratio.of(first, times),
        rounds=len(times),
    )
