"""Rows of results from what the scripts and ``dsformer benchmark --json`` write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rendering.rows import Experiment, Interval, ResultsError, Row

ENCODER = ("banking77", "stsb", "fidelity")
# Bytes of MiniLM's linear layers in float32.
MINILM_LAYERS = 43141632
# What stacking.py does not distil.
ALONE = ("minilm", "int8", "int4")


def converted(path: Path, experiment: Experiment, common: dict[str, Any], extra: Mapping[str, str]) -> list[Row]:
    """Rows of a file.

    Args:
        path: ``results.jsonl`` of a sweep, rows of a script, or the output of ``dsformer benchmark --json``.
        experiment: that they are of.
        common: fields of every row: machine, versions, commit.
        extra: what the file does not say: ``texts`` of stacking.py; of a benchmark, for the name of every model its
            method, with ``:int8`` where its factors are int8.

    Raises:
        ResultsError: none of these.
    """
    text = path.read_text(encoding="utf-8")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    try:
        if isinstance(whole, dict) and "measurements" in whole:
            return [_from_benchmark(one, experiment, common, extra) for one in whole["measurements"]]
        rows = [json.loads(line) for line in text.splitlines()]
        return [_converted(row, experiment, common, extra) for row in rows if "refused" not in row]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ResultsError(f"{path}: not rows of a sweep or script: {error!r}") from None


def _converted(row: dict[str, Any], experiment: Experiment, common: dict[str, Any], extra: Mapping[str, str]) -> Row:
    if "key" in row:
        return from_sweep(row, experiment, common)
    if "cell" in row:
        return _from_quantization(row, experiment, common)
    if "base" in row:
        return _from_stacking(row, experiment, common, extra.get("texts", "none"))
    if "masked" in row:
        return _from_albert(row, experiment, common)
    return _from_compression(row, experiment, common)


def from_sweep(row: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    """A cell of a sweep."""
    settings = {"ratio": row["ratio"], "task": row["task"]}
    if row.get("learning_rate") is not None:
        settings["learning_rate"] = row["learning_rate"]
    return Row(
        experiment.name,
        row["key"],
        experiment.model,
        row["method"],
        settings,
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


def errors_of_blocks(path: Path, experiment: Experiment) -> list[tuple[str, str, str, str]]:
    """Experiment, run, block and error of every block of a sweep's cells; nothing of other files."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line) if line.startswith('{"key"') else {}
        for block, error in row.get("errors", {}).items():
            lines.append((experiment.name, row["key"], _short(block), f"{error:.5g}"))
    return lines


def _short(block: str) -> str:
    """Modules of a block in a few words, without commas: their place once, then their names joined by ``+``."""
    parts = [part.strip().partition(".encoder.layer.")[2] or part.strip() for part in block.split(",")]
    place, _, first = parts[0].rpartition(".")
    if len(parts) == 1:
        return parts[0]
    return place + "." + "+".join([first, *[part.rpartition(".")[2] for part in parts[1:]]])


def _from_quantization(row: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    method, factors, ratio, *scope = row["cell"].split(":")
    asked = f"whole file, {ratio}x of {factors}" if scope else f"{ratio}x"
    settings = {
        "factors": factors,
        "asked": asked,
        "bits": round(row["bits"], 2),
        "scope": scope[0] if scope else "encoder",
    }
    return _encoder(
        row,
        experiment,
        common,
        run=f"{method}-{factors}-{asked.replace(', ', '-').replace(' ', '-')}",
        method=method,
        settings=settings,
        ratio_fp32=round(MINILM_LAYERS / row["layers"], 4),
        bytes={"layers": row["layers"], "file": row["file"]},
        error=row["error"],
    )


def _from_compression(row: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    free = row["pattern"] == "free"
    method = row["method"] if free else f"{row['method']}@{row['pattern']}"
    asked = ("ratio", "scope", "total_ratio", "weighting", "factors")
    return _encoder(
        row,
        experiment,
        common,
        run=f"{method}-{row['scope']}-{row['ratio']}x",
        method=method,
        settings={name: row[name] for name in asked},
        ratio=row["encoder_ratio"],
        ratio_fp32=row["encoder_ratio"] if row["factors"] == "float" else None,
        bytes={"file": row["bytes"]},
        error=row["mean_error"],
    )


def _from_stacking(row: dict[str, Any], experiment: Experiment, common: dict[str, Any], texts: str) -> Row:
    name = row["name"]
    learned = "none" if name in ALONE else row.get("texts") or texts
    settings = {"name": name, "base": row["base"], "texts": learned}
    for factors in ("int8", "int4"):
        if name.startswith(factors):
            settings["factors"] = factors
    if name.endswith("-aware"):
        settings["rounding_aware"] = True
    layers, before = row.get("layers", MINILM_LAYERS), row.get("layers_before", MINILM_LAYERS)
    methods = {"minilm": "dense", "int8": "gptq", "int4": "gptq", "student": "student"}
    return _encoder(
        row,
        experiment,
        common,
        run=f"{name}-{learned}",
        method=methods.get(name, "dense_sparse"),
        settings=settings | ({"layers_before": before} if "layers_before" in row else {}),
        ratio=round(before / layers, 4),
        ratio_fp32=round(MINILM_LAYERS / layers, 4),
        bytes={"layers": layers, "file": row["file"]},
        error=row.get("error"),
    )


def _encoder(row: dict[str, Any], experiment: Experiment, common: dict[str, Any], **fields: Any) -> Row:
    """A row with the scores of an encoder."""
    scores = {task: row[task] for task in ENCODER}
    own = {"tasks": list(scores), "seeds": [], "scores": scores, "seconds": row.get("seconds")}
    return Row(experiment=experiment.name, model=experiment.model, **own, **fields, **common)


def _from_albert(row: dict[str, Any], experiment: Experiment, common: dict[str, Any]) -> Row:
    scores = {"masked": row["masked"]}
    if "told" in row:
        scores |= {"products": row["told"], "products_factorized": row["factorized"]}
    before = row.get("layers_before")
    layers = row.get("layers")
    ratio = round(before / layers, 4) if before else 1.0
    return Row(
        experiment.name,
        f"{row['ratio']:g}",
        experiment.model,
        "dense_sparse" if before else "dense",
        {"ratio": row["ratio"]},
        list(scores),
        [],
        ratio=ratio,
        ratio_fp32=ratio,
        bytes={"file": row["file"]} | ({"layers": layers} if before else {}),
        error=row["error"],
        scores=scores,
        dense={"products": row["dense_told"]} if before else None,
        **common,
    )


def _from_benchmark(
    one: dict[str, Any], experiment: Experiment, common: dict[str, Any], extra: Mapping[str, str]
) -> Row:
    setting = one["setting"]
    model, _, way = one["contender"].rpartition(" ")
    if model not in extra:
        raise ResultsError(
            f"say what method {model} is of: --set {model}=METHOD, with :int8 where its factors are int8"
        )
    method, _, factors = extra[model].partition(":")
    settings = {"way": way, **({"factors": factors} if factors else {})}
    shortest = setting.get("shortest")
    tokens = setting["length"] if shortest is None else f"{shortest}-{setting['length']}"
    size = {"batch": setting["batch"], "tokens": tokens, "threads": setting["threads"]}
    speedup = Interval(**one["speedup"])
    many = f"-{size['threads']}-threads" if size["threads"] > 1 else ""
    yardstick = speedup.low == speedup.high == 1.0
    return Row(
        experiment.name,
        f"{method}-{factors or 'float'}-{way}-{size['batch']}x{tokens}{many}",
        experiment.model,
        method,
        settings | size | _of_machine(one),
        [],
        [],
        speedup=speedup,
        milliseconds=1000 * one["median"] if yardstick else None,
        **common,
    )


def _of_machine(one: dict[str, Any]) -> dict[str, Any]:
    """Instruction sets, and cosines with the first model in PyTorch, as far as they were written."""
    found: dict[str, Any] = {}
    if one.get("processor"):
        found |= {"features": one["processor"]["features"], "kernels": one["kernels"]}
    cosines = (one.get("agreement") or {}).get("first")
    if cosines:
        found |= {"cosine": round(cosines["mean"], 4), "least_cosine": round(cosines["least"], 4)}
    return found
