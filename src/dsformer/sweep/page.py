"""HTML page of a sweep: score against stored bytes and against speed, a table of lines, and errors by block."""

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

from dsformer.errors import MissingExtraError
from dsformer.report.page import environment, require_jinja
from dsformer.report.units import megabytes
from dsformer.sweep.lines import Line, dense_scores, lines
from dsformer.utils.atomic_io import write_text

TEMPLATE = "sweep.html.j2"


def require_page() -> None:
    """Check that the page can be rendered, before the work rather than after it.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    require_jinja()
    if find_spec("matplotlib") is None:
        raise MissingExtraError("The page of a sweep", "report")


def write_page(path: Path, rows: Sequence[dict[str, Any]], model: str, command: str | None = None) -> None:
    """Write the page as one self-contained file.

    Args:
        path: of the page.
        rows: of the sweep.
        model: name or path of the dense model.
        command: the command that repeats the sweep.
    """
    found, dense = lines(rows), dense_scores(rows)
    tasks = sorted({task for line in found for task in line.scores or {}})
    before = next((row["bytes_before"] for row in rows if "bytes_before" in row), 0)
    average = mean(dense[task] for task in tasks) if tasks and all(task in dense for task in tasks) else None
    html = (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            model=model.rstrip("/").rsplit("/", 1)[-1],
            lines=found,
            tasks=tasks,
            dense=dense,
            average=average,
            before=before,
            blocks=block_errors(found),
            by_bytes=picture(found, "stored bytes", lambda line: line.bytes / 1e6, "MB", (before / 1e6, average)),
            by_speed=picture(
                found, "speed-up", lambda line: line.speedup["middle"] if line.speedup else None, "x", (1.0, average)
            ),
            command=command,
            size=megabytes,
        )
    )
    write_text(path, html)


def block_errors(found: Sequence[Line]) -> list[tuple[str, list[float | None]]]:
    """Return every block's whitened errors, one for every line that was not refused."""
    there = [line for line in found if line.errors]
    names = dict.fromkeys(name for line in there for name in line.errors or {})
    return [(name, [(line.errors or {}).get(name) for line in there]) for name in names]


def picture(
    found: Sequence[Line],
    label: str,
    place: Callable[[Line], float | None],
    unit: str,
    dense: tuple[float, float | None],
) -> str | None:
    """Plot the mean score against another quantity as SVG, a curve for every method; None: nothing is known of it.

    Args:
        found: the lines.
        label: name of the quantity.
        place: its value for a line; None: not measured.
        unit: of the quantity.
        dense: its value for the dense model, and the dense model's mean score.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in found:
        at = None if line.refused else place(line)
        if at is not None and line.mean is not None:
            points[line.method].append((at, line.mean))
    if not points:
        return None
    figure = Figure(figsize=(6.4, 4))
    axes = figure.subplots()
    for method, known in points.items():
        axes.plot(*zip(*sorted(known), strict=True), marker="o", label=method)
    if dense[1] is not None:
        axes.plot([dense[0]], [dense[1]], "k*", markersize=12, label="dense")
    axes.set(xlabel=f"{label} ({unit})", ylabel="mean score")
    axes.legend(fontsize=7)
    figure.tight_layout()
    drawn = io.StringIO()
    with rc_context({"svg.hashsalt": "sweep"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]
