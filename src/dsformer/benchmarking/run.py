"""Latency and throughput of models over batch sizes, text lengths and thread counts."""

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

# Passages that are joined to long texts.
PASSAGES = 64


@dataclass(frozen=True)
class Setting:
    """What is measured: ``batch`` texts of ``length`` tokens each, on ``threads`` threads."""

    batch: int
    length: int
    threads: int


@dataclass(frozen=True)
class Measurement:
    """One contender in one setting.

    Attributes:
        contender: its name.
        setting: what was measured.
        median, p95: seconds of a batch.
        throughput: tokens a second, at the median.
        speedup: time of the first contender / time of this one, round by round.
        rounds: number of runs.
    """

    contender: str
    setting: Setting
    median: float
    p95: float
    throughput: float
    speedup: Ratio
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Return the measurement as plain data."""
        return asdict(self)


def measure(
    contenders: Sequence[Contender],
    batches: Sequence[int] = (1, 8),
    lengths: Sequence[int] = (16, 128),
    threads: Sequence[int] | None = None,
    seconds: float = 5.0,
    progress: Progress = silent,
) -> list[Measurement]:
    """Measure all contenders in alternation in every setting.

    Args:
        contenders: speed-ups are relative to the first.
        batches: numbers of texts of a batch.
        lengths: tokens of a text.
        threads: numbers of threads; None: torch's present number.
        seconds: approximate time of each setting, after one untimed run of each contender.
        progress: notified of every setting.

    Raises:
        InputError: a contender cannot read texts of these lengths, or a number is not valid.
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
    """Open models, each in every way that can run it, and :func:`measure` them.

    Speed-ups are relative to the first model in the first way.

    Args:
        models: directories or hub names.
        ways: of ``WAYS``.
        batches: as of :func:`measure`.
        lengths: as of :func:`measure`.
        threads: as of :func:`measure`.
        seconds: as of :func:`measure`.
        trust_remote_code: run Python code that comes with the models.

    Raises:
        InputError: there is no such model or way.
    """
    with trusting(trust_remote_code):
        contenders = open_contenders(models, ways)
    return measure(contenders, batches, lengths, threads, seconds)


def require_length(contenders: Sequence[Contender], batch: int, length: int) -> None:
    """Run a batch of the longest texts on every contender, which also compiles it for later.

    Args:
        contenders: to try.
        batch: texts of the batch.
        length: tokens of a text.

    Raises:
        InputError: a model cannot read texts of this length.
    """
    for one in contenders:
        try:
            one.run(batch_of(one, Setting(batch, length, torch.get_num_threads())))
        except (IndexError, RuntimeError, ValueError) as error:
            raise InputError(f"{one.name}: cannot read a text of {length} tokens ({first_line(error)})") from error


def batch_of(contender: Contender, setting: Setting) -> Batch:
    """Make a batch of real text, cut to the exact length."""
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
