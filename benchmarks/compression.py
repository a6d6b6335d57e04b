"""MiniLM compressed without training: bytes on disk and scores for every pattern and for low rank at the same bits.

    python benchmarks/compression.py --data-dir DIR --results results.jsonl

STS-B is read from ``DIR/glue-stsb``; Banking77 is bundled. Finished rows are kept in the results file, so an
interrupted run goes on where it stopped. With ``--factors int8`` ratios are of a model with dense int8 weights.
"""

import argparse
import tempfile
from pathlib import Path

import dsformer
from dsformer.cli.demo import find_minilm
from dsformer.factorization.dense_sparse import Effort
from dsformer.models.checkpoint import weight_bytes
from dsformer.utils.atomic_io import add_row, read_rows

TARGETS = (("encoder", 2.0), ("encoder", 2.8), ("encoder", 3.57), ("all", 2.0))
METHODS = (("dense_sparse", "free"), ("dense_sparse", "2:4"), ("dense_sparse", "grouped(8)"), ("low_rank", "free"))
TASKS = ("banking77", "stsb", "fidelity")


def measure(scope: str, ratio: float, method: str, pattern: str, args: argparse.Namespace) -> dict[str, object]:
    """Compress once and evaluate what was written."""
    original = find_minilm()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "model"
        recipe = {"ratio": ratio, "scope": scope, "method": method, "pattern": pattern, "factors": args.factors}
        effort = {"iterations": args.iterations, "screening": args.screening}
        done = dsformer.compress(original, out, **recipe, effort=effort, calibration={"weighting": args.weighting})
        scores = dsformer.evaluate(out, TASKS, args.data_dir, original=original)
        return {
            **recipe,
            "weighting": args.weighting,
            "bytes": weight_bytes(out),
            "encoder_ratio": round(done.summary.encoder_ratio, 3),
            "total_ratio": round(done.summary.total_ratio, 3),
            "mean_error": round(done.summary.mean_error, 4),
            "seconds": round(done.summary.seconds, 1),
            **{task: round(score.value, 2) for task, score in scores.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results", type=Path, default=Path("compression.jsonl"))
    parser.add_argument("--iterations", type=int, default=Effort.iterations)
    parser.add_argument("--screening", type=int, default=Effort.screening)
    parser.add_argument("--factors", choices=("float", "int8"), default="float")
    parser.add_argument("--weighting", choices=("auto", "even", "influence"), default="auto", help="of the calibration")
    parser.add_argument("--ratios", type=float, nargs="+", help="only these targets")
    parser.add_argument("--patterns", nargs="+", help="only these")
    parser.add_argument("--methods", nargs="+", help="only these")
    args = parser.parse_args()
    rows = read_rows(args.results)
    keys = ("scope", "ratio", "method", "pattern", "factors", "weighting")
    finished = {tuple(row[key] for key in keys) for row in rows}
    for scope, ratio in TARGETS:
        for method, pattern in METHODS:
            wanted = ratio in (args.ratios or [ratio]) and pattern in (args.patterns or [pattern])
            wanted = wanted and method in (args.methods or [method])
            if wanted and (scope, ratio, method, pattern, args.factors, args.weighting) not in finished:
                rows.append(measure(scope, ratio, method, pattern, args))
                add_row(args.results, rows[-1])
    original = dsformer.evaluate(find_minilm(), TASKS[:2], args.data_dir)
    print("| target | form | bytes on disk | encoder | total | error | Banking77 | STS-B | fidelity |")
    print("|---|---|---|---|---|---|---|---|---|")
    size = weight_bytes(find_minilm())
    print(
        f"| original | dense | {size:,} | 1 | 1 | 0 "
        f"| {original['banking77'].value:.2f} | {original['stsb'].value:.2f} | 100 |"
    )
    for row in rows:
        form = ("low rank" if row["method"] == "low_rank" else row["pattern"]) + f", {row['factors']}"
        print(
            f"| {row['scope']} {row['ratio']}x | {form} | {row['bytes']:,} | {row['encoder_ratio']:.2f} "
            f"| {row['total_ratio']:.2f} | {row['mean_error']:.4f} | {row['banking77']:.2f} | {row['stsb']:.2f} "
            f"| {row['fidelity']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
