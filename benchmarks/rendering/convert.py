"""Rows of results from what the scripts and ``dsformer benchmark --json`` write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rendering.rows import Experiment, Interval, ResultsError, Row

# Scores of encoders, as scripts name them in their rows.
SCORES = ("banking77", "stsb", "scifact", "fidelity", "masked")
# Bytes of what stands in the columns of a row.
SIZES = {"layers": "layers", "file": "file", "bytes": "tensors"}


def converted(path: Path, experiment: Experiment, common: dict[str, Any]) -> list[Row]:
    """Rows of a file.

    Args:
        path: ``results.jsonl`` of a sweep, rows of a script, or the output of ``dsformer benchmark --json``.
        experiment: that they are of.
        common: fields of every row: machine, versions, commit.

    Raises:
        ResultsError: neither of these.
    """
    text = path.read_text(encoding="utf-8")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, dict) and "measurements" in whole:
        return [_from_benchmark(one, experiment, common) for one in whole["measurements"]]
    rows = [json.loads(line) for line in text.splitlines()]
    if not all(isinstance(row, dict) for row in rows):
        raise ResultsError(f"{path}: neither rows nor the output of dsformer benchmark --json")
    return [_reader(row)(row, experiment, common) for row in rows if "refused" not in row]


def _reader(row: dict[str, Any]) -> Callable[[dict[str, Any], Experiment, dict[str, Any]], Row]:
    return from_sweep if "key" in row else from_script


def from_sweep(row: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    """A cell of a sweep."""
    return Row(
        experiment.name,
        row["key"],
        experiment.model,
        row["method"],
        {"ratio": row["ratio"], "task": row["task"], "learning_rate": row.get("learning_rate")},
        [row["task"]],
        [row["seed"]],
        ratio=row["encoder_ratio"],
        bytes={"tensors": row["bytes"], "tensors_dense": row["bytes_before"]},
        error=row["error"],
        scores=row["scores"],
        dense=row["dense"],
        speedup=Interval(**row["speedup"]) if "speedup" in row else None,
        seconds=row["seconds"],
        **common,
    )


def from_script(row: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    """A row of ``stacking.py``, ``albert.py``, ``quantization.py`` or ``compression.py``."""
    scores = {name: row[name] for name in SCORES if name in row}
    sizes = {SIZES[name]: row[name] for name in SIZES if name in row}
    used = {*scores, *SIZES, "error", "mean_error", "seconds", "encoder_ratio"}
    settings = {name: value for name, value in row.items() if name not in used}
    keys = [
        str(row[name]) for name in ("cell", "name", "texts", "scope", "ratio", "method", "pattern") if row.get(name)
    ]
    return Row(
        experiment.name,
        "-".join(keys),
        experiment.model,
        row.get("method", str(row.get("cell", "dense_sparse")).partition(":")[0]),
        settings,
        list(scores),
        [],
        ratio=row.get("encoder_ratio"),
        bytes=sizes,
        error=row.get("error", row.get("mean_error")),
        scores=scores,
        seconds=row.get("seconds"),
        **common,
    )


def _from_benchmark(one: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    setting = one["setting"]
    name = f"{one['contender']}-{setting['batch']}x{setting['length']}-{setting['threads']}"
    return Row(
        experiment.name,
        name,
        experiment.model,
        one["contender"],
        {"batch": setting["batch"], "tokens": setting["length"], "threads": setting["threads"]},
        [],
        [],
        speedup=Interval(**one["speedup"]),
        milliseconds=1000 * one["median"],
        **common,
    )
