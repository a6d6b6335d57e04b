"""Plot of a benchmark's speed-ups."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dsformer.benchmarking.run import Measurement
from dsformer.errors import InputError, MissingExtraError
from dsformer.utils.atomic_io import check_writable, write_file_atomically


def require_plot(path: Path) -> None:
    """Check that the plot can be drawn and written, before the work rather than after it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: no file can be written there, or matplotlib does not know the file type.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError:
        raise MissingExtraError("The plot", "report") from None
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise InputError(f"plot: {path} is not a picture of a kind known here: {', '.join(kinds)}")
    check_writable(path, "plot")


def draw(found: Sequence[Measurement], path: Path) -> None:
    """Plot speed-up against the tokens of a batch, with quartiles: a line for every contender and number of threads."""
    from matplotlib.figure import Figure

    lines: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    for one in found:
        lines[one.contender, one.setting.threads].append(one)
    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for (name, threads), points in lines.items():
        points = sorted(points, key=lambda one: one.setting.batch * one.setting.length)
        tokens = [one.setting.batch * one.setting.length for one in points]
        middle = [one.speedup.middle for one in points]
        below = [one.speedup.middle - one.speedup.low for one in points]
        above = [one.speedup.high - one.speedup.middle for one in points]
        axes.errorbar(tokens, middle, yerr=[below, above], marker="o", capsize=3, label=f"{name}, {threads} threads")
    axes.set(xscale="log", xlabel="tokens of a batch", ylabel=f"speed-up over {found[0].contender}")
    axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_file_atomically(path) as fresh:
        figure.savefig(fresh, dpi=150, format=path.suffix.removeprefix("."))
