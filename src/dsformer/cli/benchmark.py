"""``dsformer benchmark``: latency and throughput of models against each other."""

from pathlib import Path
from typing import Annotated

import typer

from dsformer.benchmarking import WAYS, Contender, Measurement, measure, open_contenders
from dsformer.benchmarking.plot import draw, require_plot
from dsformer.cli.options import AsJson, Quiet, TrustRemoteCode, path_option
from dsformer.cli.output import console, print_json, table
from dsformer.errors import InputError
from dsformer.models.remote_code import trusting
from dsformer.ops.cpu import describe
from dsformer.report.units import megabytes, times
from dsformer.utils.progress import shown_progress

LARGEST = 1_000_000
_SIZES = ("name", "disk_bytes", "memory_bytes", "load_seconds")


def benchmark(
    models: Annotated[list[str], typer.Argument(help="model directories; the first is the yardstick")],
    ways: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(WAYS)}")] = "eager",
    batch: Annotated[str, typer.Option(help="texts at once, comma-separated")] = "1,8",
    length: Annotated[str, typer.Option(help="tokens of a text, comma-separated")] = "16,128",
    threads: Annotated[str | None, typer.Option(help="comma-separated (default: all)", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(help="about how long each setting is measured")] = 5.0,
    plot: Annotated[Path | None, path_option("--plot", help="write a picture of the speed-ups")] = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time models against each other, in alternation, so that a busy machine affects all of them equally."""
    sizes = _numbers("--batch", batch), _numbers("--length", length)
    counts = None if threads is None else _numbers("--threads", threads)
    if plot is not None:
        require_plot(plot)
    chosen = [way.strip() for way in ways.split(",")]
    with trusting(trust_remote_code):
        contenders = open_contenders(models, chosen)
    with shown_progress(quiet or as_json) as progress:
        found = measure(contenders, *sizes, counts, seconds, progress)
    if plot is not None:
        draw(found, plot)
    if as_json:
        sizes_of = [{name: getattr(one, name) for name in _SIZES} for one in contenders]
        print_json({"kernels": describe(), "models": sizes_of, "measurements": [one.as_dict() for one in found]})
        return
    out = console()
    out.print(table("Models", ["", "on disk", "in memory", "loaded in"], [_sizes(one) for one in contenders]))
    columns = ["", "batch", "tokens", "threads", "median", "95 %", "tokens/s", "speed-up", "quartiles"]
    out.print(table("Forward pass", columns, [_line(one) for one in found]))
    out.print(f"Speed-up over {contenders[0].name}, round by round. Kernels of compressed layers: {describe()}.")


def _numbers(option: str, text: str) -> list[int]:
    """Parse positive integers separated by commas.

    Raises:
        InputError: the text is something else; the message names the option.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) <= LARGEST for part in parts):
        raise InputError(f"{option}: {text!r} is not a list of numbers from 1 to {LARGEST} such as 1,8")
    return [int(part) for part in parts]


def _sizes(one: Contender) -> list[str]:
    return [one.name, megabytes(one.disk_bytes), megabytes(one.memory_bytes), f"{one.load_seconds:.2f} s"]


def _line(one: Measurement) -> list[str]:
    setting, speedup = one.setting, one.speedup
    return [
        one.contender,
        str(setting.batch),
        str(setting.length),
        str(setting.threads),
        f"{1000 * one.median:.2f} ms",
        f"{1000 * one.p95:.2f} ms",
        f"{one.throughput:,.0f}",
        times(speedup.middle),
        f"{speedup.low:.2f} to {speedup.high:.2f}",
    ]
