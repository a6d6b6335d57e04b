"""Tables of models trained on tasks."""

from collections import defaultdict
from statistics import mean, pstdev

from rendering.markdown import (
    METRICS,
    code,
    count,
    difference,
    error,
    name_of,
    ratio,
    score,
    table,
)
from rendering.rows import Results, Row

# Experiments whose dense models are the same.
TRAINED = ("tasks-rivals", "tasks-families", "tasks-longer")


def task(results: Results, name: str) -> str:
    """Everything trained on a task from the same dense models; the least loss first."""
    groups: dict[tuple[float, str, str], list[Row]] = defaultdict(list)
    for experiment in TRAINED:
        for row in results.of(experiment):
            if name in row.tasks:
                passes = "6" if experiment == "tasks-longer" or "+" in row.method else "1"
                groups[row.settings["ratio"], row.method, passes].append(row)
    lines = []
    for (asked, method, passes), rows in groups.items():
        lost = [_score(row, name) - (row.dense or {})[name] for row in rows]
        spread = pstdev(lost) if len(lost) > 1 else None
        own = [_score(row, name) for row in rows]
        lines.append((asked, mean(lost), code(method), passes, rows, own, spread))
    lines.sort(key=lambda line: (line[0], -line[1]))
    header = ["asked", "method", "ratio", "passes", "error", METRICS[name], "difference to dense", "seeds"]
    dense = {row.seeds[0]: (row.dense or {})[name] for row in results.of("tasks-rivals", task=name)}
    of_all = ", ".join(map(str, sorted(dense)))
    cells = [["1x", "dense", "1.00", "", "0.0000", score(mean(dense.values())), "0.00", of_all]]
    for asked, lost, method, passes, rows, own, spread in lines:
        stored = ratio(mean(row.ratio or 0.0 for row in rows))
        line = [f"{asked:g}x", method, stored, passes, _mean_error(rows), score(mean(own))]
        cells.append([*line, difference(lost, spread), _seeds(rows)])
    return table(header, cells)


def _mean_error(rows: list[Row]) -> str:
    """Of what chooses weights in training there is none before it."""
    if any("+" in row.method for row in rows):
        return ""
    errors = [row.error for row in rows if row.error is not None]
    return error(mean(errors)) if errors else ""


def other_dense_models(results: Results) -> str:
    """Differences to the dense model of the same seed, by method and task."""
    columns = [(name, "tasks", name_of(name)) for name in ("mrpc", "stsb", "cola", "sst2", "banking77", "rte")]
    columns.append(("rte", "tasks-rte", "RTE, second dense model"))
    cells: dict[tuple[float, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for name, experiment, title in columns:
        for row in results.of(experiment, task=name):
            cells[row.settings["ratio"], row.method][title].append(row)
    lines = []
    for (asked, method), own in sorted(cells.items()):
        line = [f"{asked:g}x", code(method)]
        for name, _, title in columns:
            lost = [_score(row, name) - (row.dense or {})[name] for row in own.get(title, [])]
            mark = "\\*" if any(row.note for row in own.get(title, [])) and method in ("low_rank", "pruning") else ""
            line.append(difference(mean(lost), pstdev(lost) if len(lost) > 1 else None) + mark if lost else "")
        lines.append(line)
    return table(["asked", "method", *[title for _, _, title in columns]], lines)


def by_dense(results: Results, experiment: str) -> str:
    """Rows of an experiment with the dense score of each."""
    rows = sorted(results.of(experiment), key=lambda row: (row.tasks, row.settings["ratio"], row.method))
    header = ["task", "method", "ratio", "error", "score", "dense", "difference"]
    lines = []
    for row in rows:
        name = row.tasks[0]
        own, dense = _score(row, name), (row.dense or {})[name]
        method = code(row.method) + ("\\*" if row.note else "")
        title = f"{name_of(name)} ({METRICS[name]})"
        errors = error(row.error)
        lines.append([title, method, ratio(row.ratio), errors, score(own), score(dense), difference(own - dense)])
    return table(header, lines)


def squad(results: Results) -> str:
    names = {"none": "2.8x, not trained", "fixed": "2.8x, trained"}
    rows = results.of("squad")
    return table(
        ["model", "F1"],
        [[names.get(row.settings.get("train", ""), "dense"), score((row.scores or {})["squad"])] for row in rows],
    )


def round_trips(results: Results) -> str:
    header = ["model", "ratio", "ratio of the file", "bytes of tensors, predicted", "bytes of the file"]
    lines = []
    for row in results.of("round-trip"):
        sizes = row.bytes or {}
        total = ratio(row.settings["total_ratio"])
        lines.append([row.model, ratio(row.ratio), total, count(sizes["tensors"]), count(sizes["file"])])
    return table(header, lines)


def _score(row: Row, name: str) -> float:
    return (row.scores or {})[name]


def _seeds(rows: list[Row]) -> str:
    return ", ".join(str(seed) for seed in sorted({seed for row in rows for seed in row.seeds}))
