"""``dsformer benchmark``: latency and throughput of models against each other."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer

from dsformer.benchmarking import WAYS, Contender, Measurement, open_contenders
from dsformer.benchmarking.agreement import TEXTS
from dsformer.benchmarking.plot import draw, require_plot
from dsformer.benchmarking.run import measure_cells
from dsformer.benchmarking.scores import score
from dsformer.benchmarking.startup import StartUp, start_up
from dsformer.benchmarking.texts import Length
from dsformer.cli.options import AsJson, DataDir, Quiet, TrustRemoteCode, path_option
from dsformer.cli.output import console, print_json, table
from dsformer.cli.scores import parse_tasks
from dsformer.errors import InputError
from dsformer.models.remote_code import trusting
from dsformer.ops.cpu import describe
from dsformer.report.units import megabytes, times
from dsformer.utils.hardware import processor
from dsformer.utils.progress import shown_progress

LARGEST = 1_000_000
_SIZES = ("name", "disk_bytes", "memory_bytes", "load_seconds")
Parsed = TypeVar("Parsed")


def benchmark(
    models: Annotated[list[str], typer.Argument(help="model directories; the first is the yardstick")],
    ways: Annotated[
        str, typer.Option(help=f"comma-separated: {', '.join(WAYS)}, or files such as onnx/model_O3.onnx")
    ] = "eager",
    batch: Annotated[str, typer.Option(help="texts at once, comma-separated")] = "1,8",
    length: Annotated[str, typer.Option(help="tokens of a text, or a range (8-128), comma-separated")] = "16,128",
    cells: Annotated[
        str | None,
        typer.Option(help="these instead of all pairs of batch and length: 1x16,32x8-128", show_default=False),
    ] = None,
    threads: Annotated[str | None, typer.Option(help="comma-separated (default: all)", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(help="about how long each setting is measured")] = 5.0,
    compare: Annotated[int, typer.Option(help="texts whose outputs are compared with PyTorch", min=0)] = TEXTS,
    evaluate: Annotated[str | None, typer.Option(help="a task that is scored as well", show_default=False)] = None,
    data_dir: DataDir = None,
    startup: Annotated[bool, typer.Option("--startup", help="start-up time and memory of new processes")] = False,
    plot: Annotated[Path | None, path_option("--plot", help="write a picture of the speed-ups")] = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time models against each other, in alternation, so that a busy machine affects all of them equally."""
    sizes = _cells(batch, length, cells)
    counts = [torch.get_num_threads()] if threads is None else _list("--threads", threads, _number, "1,8")
    if plot is not None:
        require_plot(plot)
    if evaluate is not None:
        parse_tasks(evaluate, data_dir)
    with trusting(trust_remote_code):
        contenders = open_contenders(models, [way.strip() for way in ways.split(",")])
        with shown_progress(quiet or as_json) as progress:
            found = measure_cells(contenders, sizes, counts, seconds, progress, compare)
        scores = {} if evaluate is None else score(contenders, evaluate, data_dir)
        started = start_up(contenders, counts) if startup else []
    if plot is not None:
        draw(found, plot)
    if as_json:
        _print_json(contenders, found, scores, started)
    else:
        _print_tables(contenders, found, scores, started)


def _print_json(
    contenders: Sequence[Contender], found: Sequence[Measurement], scores: dict[str, float], started: Sequence[StartUp]
) -> None:
    models = [{name: getattr(one, name) for name in _SIZES} | {"score": scores.get(one.name)} for one in contenders]
    measured, starts = [one.as_dict() for one in found], [one.as_dict() for one in started]
    print_json({"kernels": describe(), "models": models, "measurements": measured, "startup": starts})


def _print_tables(
    contenders: Sequence[Contender], found: Sequence[Measurement], scores: dict[str, float], started: Sequence[StartUp]
) -> None:
    out = console()
    heads = ["", "on disk", "in memory", "loaded in", *(["score"] if scores else [])]
    out.print(table("Models", heads, [_sizes(one, scores) for one in contenders]))
    columns = ["", "batch", "tokens", "threads", "median", "95 %", "tokens/s", "speed-up", "quartiles"]
    compared = found[0].agreement is not None
    columns += ["cosine to first", "to PyTorch"] if compared else []
    machine = f"{processor()}, kernels {describe()}"
    out.print(table(f"Forward pass on {machine}", columns, [_line(one) for one in found]))
    out.print(f"Speed-up over {contenders[0].name}, round by round. Kernels of compressed layers: {describe()}.")
    if compared:
        out.print(
            f"Cosines, mean (least), of outputs on real texts: to {contenders[0].model} in PyTorch in float32, and to "
            "the same model in PyTorch."
        )
    if started:
        heads = ["", "threads", "start to end", "most memory"]
        title = f"A new process that embeds one sentence, on {machine}"
        out.print(table(title, heads, [_start(one) for one in started]))


def _cells(batch: str, length: str, cells: str | None) -> list[tuple[int, Length]]:
    if cells is not None:
        return _list("--cells", cells, _cell, "1x16,32x8-128")
    batches = _list("--batch", batch, _number, "1,8")
    return list(product(batches, _list("--length", length, _length, "16,8-128")))


def _list(option: str, text: str, parse: Callable[[str], Parsed | None], example: str) -> list[Parsed]:
    """Parse a list separated by commas.

    Raises:
        InputError: the text is something else; the message names the option.
    """
    found = [parse(part.strip()) for part in text.split(",")]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        raise InputError(f"{option}: {text!r} is not a list of numbers from 1 to {LARGEST} such as {example}")
    return known


def _number(text: str) -> int | None:
    fits = text.isascii() and text.isdecimal() and 0 < int(text) <= LARGEST
    return int(text) if fits else None


def _length(text: str) -> Length | None:
    """Parse tokens of a text, or of the shortest and the longest: ``128`` or ``8-128``."""
    shortest, dash, longest = text.partition("-")
    if not dash:
        return _number(text)
    ends = _number(shortest), _number(longest)
    return None if ends[0] is None or ends[1] is None or ends[0] > ends[1] else (ends[0], ends[1])


def _cell(text: str) -> tuple[int, Length] | None:
    batch, _, length = text.partition("x")
    both = _number(batch), _length(length)
    return None if both[0] is None or both[1] is None else (both[0], both[1])


def _sizes(one: Contender, scores: dict[str, float]) -> list[str]:
    own = [f"{scores[one.name]:.2f}" if one.name in scores else ""] if scores else []
    return [one.name, megabytes(one.disk_bytes), megabytes(one.memory_bytes), f"{one.load_seconds:.2f} s", *own]


def _line(one: Measurement) -> list[str]:
    setting, speedup, agreement = one.setting, one.speedup, one.agreement
    return [
        one.contender,
        str(setting.batch),
        setting.size,
        str(setting.threads),
        f"{1000 * one.median:.2f} ms",
        f"{1000 * one.p95:.2f} ms",
        f"{one.throughput:,.0f}",
        times(speedup.middle),
        f"{speedup.low:.2f} to {speedup.high:.2f}",
        *([str(cosine or "") for cosine in (agreement.first, agreement.own)] if agreement else []),
    ]


def _start(one: StartUp) -> list[str]:
    return [one.contender, str(one.threads), f"{one.median:.2f} s", megabytes(one.memory_bytes)]
