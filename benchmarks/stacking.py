"""What is left to compress of models that are compressed already: quantized or distilled.

    python benchmarks/stacking.py --data-dir DIR --work WORK

Bases: MiniLM, MiniLM in int8 and int4 (GPTQ), and a student of half its bytes, some of its layers (as DistilBERT)
without some heads and neurons, distilled here. Each alone, and with DSFormer; all but the quantized ones are distilled
for one pass over unlabelled texts: the demo's (book passages and queries of Banking77's training part) and half the
sentences of STS-B's training part (``--texts demo``: without these). Banking77 is bundled, STS-B read from
``DIR/glue-stsb``. Speed is of eager PyTorch over that of MiniLM, all models in turn in one run. Finished rows are kept
in WORK. ``albert.py`` has a model whose layers are shared.
"""

import argparse
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dsformer
from dsformer.benchmarking.timing import Ratio
from dsformer.cli.demo import find_minilm, unlabelled
from dsformer.data.supervised import list_texts, load_task
from dsformer.models.checkpoint import weight_bytes
from dsformer.sweep.latency import measured
from finished import Finished

TASKS = ("banking77", "stsb", "fidelity")


@dataclass(frozen=True)
class Row:
    """A model.

    Attributes:
        base: what it is made from.
        how: recipe fields; None: it stays as it is.
        start: the row whose model, made dense, is compressed; empty: MiniLM.
        learns: it is distilled.
    """

    name: str
    base: str
    how: dict[str, Any] | None
    start: str = ""
    learns: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("minilm", "MiniLM", None),
    Row("minilm-2.8", "MiniLM", {"ratio": 2.8}, learns=True),
    Row("int8", "MiniLM int8", {"method": "gptq", "ratio": 3.95}),
    # 8 times smaller than float32: scales and biases are not.
    Row("int8-2.02", "MiniLM int8", {"factors": "int8", "ratio": 2.02}, learns=True),
    Row("int4", "MiniLM int4", {"method": "gptq", "ratio": 7.4}),
    Row("int4-1.6", "MiniLM int4", {"factors": "int4", "ratio": 1.6}, learns=True),
    Row(
        "int4-1.6-aware", "MiniLM int4", {"factors": "int4", "ratio": 1.6}, learns=True, extra={"rounding_aware": True}
    ),
    Row("student", "student", {"method": "student", "ratio": 1.96}, learns=True),
    # Made dense, it has zeros where heads and neurons are gone: 1.32 times what is stored of it.
    Row("student-1.5", "student", {"ratio": 2.0}, start="student", learns=True),
    Row("student-2.0", "student", {"ratio": 2.63}, start="student", learns=True),
)


def unlabelled_texts(which: str, data_dir: Path) -> list[str]:
    """What is distilled on."""
    if which == "demo":
        return unlabelled()
    pairs = list_texts(load_task("stsb", data_dir).train)
    sentences = dict.fromkeys(sentence for pair in pairs for sentence in pair)
    return unlabelled() + list(sentences)[::2]


def made(row: Row, work: Path, texts: Path) -> tuple[Path, dict[str, Any]]:
    """The model's directory, and what is stored of its linear layers."""
    if row.how is None:
        return find_minilm(), {}
    start = find_minilm()
    if row.start:
        start = work / f"{row.start}-dense"
        if not start.is_dir():
            dsformer.densify(work / row.start, start)
    training = {"train": "distill", "text": texts, "epochs": 1, **row.extra} if row.learns else {}
    how = {"calibration": {"cache": work / "calibrations"}, "training": training, **row.how}
    done = dsformer.compress(start, work / row.name, overwrite=True, **how)
    blocks, summary = done.summary.encoder_blocks, done.summary
    return work / row.name, {
        "layers": sum(block.bytes_after for block in blocks),
        "layers_before": summary.dropped_bytes + sum(block.bytes_before for block in blocks),
        "error": summary.mean_error,
        "seconds": summary.seconds,
    }


def measure(row: Row, work: Path, texts: Path, data_dir: Path) -> dict[str, Any]:
    directory, stored = made(row, work, texts)
    scores = dsformer.evaluate(directory, TASKS, data_dir, original=find_minilm())
    return {
        "base": row.base,
        "directory": str(directory),
        "file": weight_bytes(directory),
        **stored,
        **{task: score.value for task, score in scores.items()},
    }


def show(rows: list[dict[str, Any]], speeds: dict[str, Ratio]) -> None:
    print("| base | model | layers, bytes | file, bytes | Banking77 | STS-B | fidelity | lost | speed |")
    print("|---|---|---|---|---|---|---|---|---|")
    alone: dict[str, float] = {}
    for row in rows:
        score = (row["banking77"] + row["stsb"]) / 2
        lost = alone.setdefault(row["base"], score) - score
        scores = " | ".join(f"{row[task]:.2f}" for task in TASKS)
        layers = row.get("layers") or next(other["layers_before"] for other in rows if "layers_before" in other)
        speed = speeds.get(row["name"], "")
        print(f"| {row['base']} | {row['name']} | {layers:,} | {row['file']:,} | {scores} | {lost:.2f} | {speed} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("stacking"))
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS])
    parser.add_argument("--texts", choices=["demo", "demo+stsb"], default="demo+stsb", help="to distil on")
    parser.add_argument("--seconds", type=float, default=5.0, help="spent on timing each model; 0: none")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    texts = args.work / "texts.txt"
    texts.write_text("\n".join(unlabelled_texts(args.texts, args.data_dir)), encoding="utf-8")
    finished = Finished(args.work / "results.jsonl", "name")
    asked = [row for row in ROWS if row.name in args.rows]
    shown = [finished.get(row.name, partial(measure, row, args.work, texts, args.data_dir)) for row in asked]
    compressed = [row for row in shown if row["name"] != "minilm"]
    speeds: dict[str, Ratio] = {}
    if args.seconds > 0 and compressed:
        found = measured(str(find_minilm()), [row["directory"] for row in compressed], args.seconds)
        speeds = {row["name"]: one for row, one in zip(compressed, found, strict=True)}
    if shown:
        show(shown, speeds)


if __name__ == "__main__":
    main()
