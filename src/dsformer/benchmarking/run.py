"""Latency and throughput of models over batch sizes, text lengths and thread counts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from dsformer.benchmarking.agreement import TEXTS, Agreement, References
from dsformer.benchmarking.engines import Contender, open_contenders
from dsformer.benchmarking.texts import Length, Setting, texts_of
from dsformer.benchmarking.timing import Ratio, in_turn
from dsformer.errors import InputError
from dsformer.models.checkpoint import first_line
from dsformer.models.remote_code import trusting
from dsformer.ops.cpu import describe
from dsformer.utils.hardware import Processor, check_threads, processor
from dsformer.utils.progress import Progress, silent


@dataclass(frozen=True)
class Measurement:
    """One contender in one setting.

    Attributes:
        contender: its name.
        setting: what was measured.
        median, p95: seconds of a batch.
        throughput: tokens a second, at the median, without padding.
        speedup: time of the first contender / time of this one, round by round.
        rounds: number of runs.
        agreement: with PyTorch; None: nothing was compared.
        processor: that ran it.
        kernels: instruction set of the native kernels.
    """

    contender: str
    setting: Setting
    median: float
    p95: float
    throughput: float
    speedup: Ratio
    rounds: int
    agreement: Agreement | None
    processor: Processor
    kernels: str

    def as_dict(self) -> dict[str, Any]:
        """Return the measurement as plain data."""
        return asdict(self)


def measure(
    contenders: Sequence[Contender],
    batches: Sequence[int] = (1, 8),
    lengths: Sequence[Length] = (16, 128),
    threads: Sequence[int] | None = None,
    seconds: float = 5.0,
    progress: Progress = silent,
    compare: int = TEXTS,
) -> list[Measurement]:
    """Measure all contenders in alternation in every setting.

    Args:
        contenders: speed-ups are relative to the first.
        batches: numbers of texts of a batch.
        lengths: tokens of a text, or of the shortest and the longest text of batches of mixed lengths.
        threads: numbers of threads; None: torch's present number.
        seconds: approximate time of each setting, after one untimed run of each contender.
        progress: notified of every setting.
        compare: about how many texts are compared with PyTorch, beside what is timed; 0: none.

    Raises:
        InputError: a contender cannot read texts of these lengths, or a number is not valid.
    """
    before = torch.get_num_threads()
    return measure_cells(contenders, [*product(batches, lengths)], threads or [before], seconds, progress, compare)


def measure_cells(
    contenders: Sequence[Contender],
    cells: Sequence[tuple[int, Length]],
    threads: Sequence[int],
    seconds: float = 5.0,
    progress: Progress = silent,
    compare: int = TEXTS,
) -> list[Measurement]:
    """Measure all contenders in alternation in these cells, each a number of texts and their length.

    Args:
        contenders: as of :func:`measure`.
        cells: batch and length.
        threads: numbers of threads.
        seconds: as of :func:`measure`.
        progress: as of :func:`measure`.
        compare: as of :func:`measure`.

    Raises:
        InputError: as of :func:`measure`.
    """
    for count in threads:
        check_threads(count, "threads")
    if not 0 <= seconds < float("inf"):
        raise InputError(f"seconds: {seconds} is not a number of seconds")
    settings = [Setting.of(*cell, count) for cell, count in product(cells, threads)]
    require_length(contenders, max(settings, key=lambda one: one.length))
    before = torch.get_num_threads()
    references = References(contenders, compare) if compare else None
    found: list[Measurement] = []
    try:
        for i, setting in enumerate(settings):
            progress("benchmark", i, len(settings))
            torch.set_num_threads(setting.threads)
            agreements = [references.of(one, setting) if references else None for one in contenders]
            runs = [partial(one.seconds, prepared(one, setting)) for one in contenders]
            times = in_turn(runs, seconds)
            rows = zip(contenders, agreements, times, strict=True)
            found += [_measured(one, setting, agreement, own, times[0]) for one, agreement, own in rows]
    finally:
        torch.set_num_threads(before)
    progress("benchmark", len(settings), len(settings))
    return found


def benchmark(
    models: Sequence[str | Path],
    ways: Sequence[str] = ("eager",),
    batches: Sequence[int] = (1, 8),
    lengths: Sequence[Length] = (16, 128),
    threads: Sequence[int] | None = None,
    seconds: float = 5.0,
    trust_remote_code: bool = False,
    compare: int = TEXTS,
) -> list[Measurement]:
    """Open models, each in every way that can run it, and :func:`measure` them.

    Speed-ups are relative to the first model in the first way.

    Args:
        models: directories or hub names.
        ways: of ``WAYS``, or paths of engines' files in the models' directories.
        batches: as of :func:`measure`.
        lengths: as of :func:`measure`.
        threads: as of :func:`measure`.
        seconds: as of :func:`measure`.
        trust_remote_code: run Python code that comes with the models.
        compare: as of :func:`measure`.

    Raises:
        InputError: there is no such model or way.
    """
    with trusting(trust_remote_code):
        contenders = open_contenders(models, ways)
        return measure(contenders, batches, lengths, threads, seconds, compare=compare)


def require_length(contenders: Sequence[Contender], setting: Setting) -> None:
    """Run a batch of the longest texts on every contender, which also compiles it for later.

    Args:
        contenders: to try.
        setting: of the longest texts.

    Raises:
        InputError: a model cannot read texts of this length.
    """
    for one in contenders:
        try:
            one.engine.run(prepared(one, setting))
        except (IndexError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{one.name}: cannot read a text of {setting.length} tokens ({first_line(error)})"
            ) from error


def prepared(contender: Contender, setting: Setting) -> Any:
    """Make a batch of real texts, as the contender's engine takes it."""
    return contender.engine.prepare(texts_of(contender.tokenizer, setting)[0])


def _measured(
    contender: Contender, setting: Setting, agreement: Agreement | None, times: list[float], first: list[float]
) -> Measurement:
    middle = median(times)
    return Measurement(
        contender=contender.name,
        setting=setting,
        median=middle,
        p95=quantiles(times, n=20, method="inclusive")[-1],
        throughput=sum(setting.lengths) / middle,
        speedup=Ratio.of(first, times),
        rounds=len(times),
        agreement=agreement,
        processor=processor(),
        kernels=describe(),
    )
