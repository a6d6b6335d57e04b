"""Tables of ablations, learners, learning rates and errors of blocks."""

from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from rendering.markdown import METRICS, code, error, name_of, score, table
from rendering.rows import Results, ResultsError, Row

SIX = ("mrpc", "cola", "stsb", "sst2", "banking77", "movie_reviews")


def ablations(results: Results) -> str:
    """One idea after the other: without, with, difference."""
    entries = yaml.safe_load((Path(__file__).parent / "ablations.yaml").read_text(encoding="utf-8"))
    lines = []
    for entry in entries:
        names = [entry["idea"], entry["where"]]
        before, after = _run(results, entry["without"]), _run(results, entry["with"])
        for measure in entry["measures"]:
            values = _measured(before, measure), _measured(after, measure)
            digits = 4 if measure.startswith(("error", "divergence")) else 2
            lines.append([*names, name_of(measure), *[f"{value:.{digits}f}" for value in values]])
            lines[-1].append(f"{values[1] - values[0]:+.{digits}f}")
            names = ["", ""]
    return table(["idea", "where", "measure", "without", "with", "difference"], lines)


def _run(results: Results, place: str) -> Row:
    experiment, _, run = place.partition("/")
    return results.run(experiment, run)


def _measured(row: Row, measure: str) -> float:
    found: Any = None
    if measure == "error":
        found = row.error
    elif measure == "speedup":
        found = row.speedup and row.speedup.middle
    elif measure == "mean":
        found = mean((row.scores or {})[task] for task in row.tasks)
    else:
        found = (row.scores or {}).get(measure)
    if found is None:
        raise ResultsError(f"{row.experiment}/{row.run} has no {measure}")
    return float(found)


def learners(results: Results, experiment: str, seed: int | None = None) -> str:
    """Scores of every learner on six tasks, and their mean."""
    rows = [row for row in results.of(experiment) if "rte" not in row.tasks]
    rows = [row for row in rows if seed is None or row.seeds == [seed]]
    lines = []
    for row in rows:
        scores, spread = row.scores or {}, row.spread or {}
        cells = [score(scores.get(task), spread.get(task)) for task in SIX]
        whole = score(mean(scores[task] for task in SIX)) if all(task in scores for task in SIX) else ""
        lines.append([f"{row.settings['ratio']:g}x", _learner(row), *cells, whole])
    titles = [f"{name_of(task)} ({METRICS[task]})" for task in SIX]
    return table(["ratio", "learner", *titles, "mean"], lines)


def divergence(results: Results) -> str:
    """Divergence of every learner from the dense model."""
    lines = []
    for row in results.of("learners"):
        scores, spread = row.scores or {}, row.spread or {}
        names = [f"divergence_{task}" for task in SIX]
        if not any(name in scores for name in names):
            continue
        cells = []
        for name in names:
            own = f"{scores[name]:.4f}" if name in scores else ""
            cells.append(f"{own} ± {spread[name]:.4f}" if name in spread else own)
        lines.append([f"{row.settings['ratio']:g}x", _learner(row), *cells])
    return table(["ratio", "learner", *map(name_of, SIX)], lines)


def _learner(row: Row) -> str:
    if row.method == "dense":
        return "dense"
    if row.settings["train"] == "none":
        return "not trained"
    labels = ", labels alone" if row.settings["distill"] == "none" else ""
    return f"`{row.settings['train']}`{labels}"


def variants(results: Results) -> str:
    lines = []
    for row in results.of("learner-variants"):
        scores = row.scores or {}
        variant = row.settings["variant"]
        lines.append([variant, f"{scores['divergence_banking77']:.4f}", score(scores["banking77"])])
    return table(["variant", "divergence", "Banking77 (accuracy)"], lines)


def rates(results: Results) -> str:
    """Scores by learning rate, for every method."""
    found: dict[str, dict[tuple[str, float], float]] = defaultdict(dict)
    columns = [(task, rate) for task in ("mrpc", "banking77") for rate in (5e-5, 2e-4, 5e-4)]
    for experiment in ("tasks", "learning-rates"):
        for row in results.of(experiment):
            place = row.tasks[0], row.settings.get("learning_rate")
            if row.settings["ratio"] == 3.57 and row.seeds == [0] and place in columns:
                found[row.method][place] = (row.scores or {})[row.tasks[0]]
    chosen = {row.method for row in results.of("learning-rates")}
    used = [column for column in columns if any(column in found[method] for method in chosen)]
    header = ["method", *[f"{name_of(task)}, {rate:g}" for task, rate in used]]
    lines = [[code(method), *[score(found[method].get(column)) for column in used]] for method in sorted(chosen)]
    return table(header, lines)


def blocks(results: Results) -> str:
    """Mean error over the blocks of MiniLM, by value type, ratio and form."""
    forms = ("svd_each", "svd", "free", "grouped(8)", "2:4")
    lines = []
    for bits in ("16", "8", "4"):
        for ratio in ("2.0", "2.8", "3.57"):
            own = [line for line in results.blocks if (line["bits"], line["ratio"]) == (bits, ratio)]
            for kind in ("qkv", "up", "out", "down"):
                group = [line for line in own if line["block"] == kind]
                cells = [[float(line[form]) for line in group if line[form]] for form in forms]
                lines.append(
                    [f"{bits} bits", f"{ratio}x", kind, *[error(mean(cell)) if cell else "" for cell in cells]]
                )
    names = ("low rank, each layer", "low rank, stacked", "free", "grouped(8)", "2:4")
    return table(["values", "ratio", "block", *names], lines)
