"""A picture of a benchmark."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dsformer.benchmarking.run import Measurement
from dsformer.errors import MissingExtraError


def draw(found: Sequence[Measurement], path: Path) -> None:
    """Speed-up against the tokens of a batch, a line a contender and number of threads, with quartiles.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("The plot", "report") from None
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
    figure.savefig(path, dpi=150)
