"""The methods compared on tasks, trained alike: MiniLM at 2.8x and 3.57x, a sweep and its table.

    python benchmarks/glue.py --data-dir DIR --work WORK
    python benchmarks/glue.py --show --work WORK

Every task and seed has one dense teacher; every method starts from it, on the same calibration text, within the same
stored bytes, and is then trained on its supports for as many steps with the same distillation (``--distill none``: with
none). A learner after ``+`` also chooses which weights stay: it starts where the teacher's training did, for as many
passes as that and the others' together. Dense weights in fewer bits (rtn, gptq) are not trained: they are
what a user has without any of this. Finished cells are kept in WORK; an interrupted run goes on where it stopped. The
second command shows them. ``render.py --add WORK/results.jsonl --experiment NAME`` puts them into docs/results.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

from dsformer.cli.demo import find_minilm
from dsformer.sweep.grid import Grid, Variant
from dsformer.sweep.lines import Line, dense_scores, lines, with_spread
from dsformer.sweep.run import finished, sweep

TASKS = ("mrpc", "rte", "stsb", "cola", "sst2", "banking77")
METHODS = (
    "dense_sparse",
    "dense_sparse@grouped(8)",
    "double_sparse",
    "low_rank",
    "fwsvd",
    "pruning",
    "sparsegpt",
    "pruning@5:16",
    "pruning@2:8",
    "sparsegpt@5:16",
    "sparsegpt@2:8",
    "magnitude@5:16+codes",
    "magnitude@2:8+codes",
    "pruning+movement",
    "pruning+platon",
    "structured",
    "student",
    "oats",
    "rocket",
    "monarch",
    "gptq",
)
# Peak rates, of 5e-5, 2e-4 and 5e-4 the one that is best for a method on MRPC and Banking77 at 3.57x; those of factors
# are twice as high. What starts far from the dense model takes larger steps; what learns along with it, those it took.
RATE = 5e-5
RATES = {"sparsegpt": 2e-4, "oats": 2e-4, "fwsvd": 2e-4, "rocket": 2e-4, "student": 5e-4}


def shown(line: Line, tasks: list[str]) -> str:
    """A line of the table."""
    cells = [f"{line.ratio:g}", line.method]
    if line.refused:
        return "| " + " | ".join([*cells, line.refused]) + " |"
    cells += [f"{line.encoder_ratio:.2f}", f"{line.error:.4f}"]
    scores = line.scores or {}
    cells += [with_spread(scores[task]) if task in scores else "" for task in tasks]
    cells.append("" if line.mean is None else f"{line.mean:.2f}")
    cells.append("" if line.speedup is None else f"{line.speedup['middle']:.2f}x")
    return "| " + " | ".join(cells) + " |"


def grids(args: argparse.Namespace) -> list[Grid]:
    """The sweeps, one for all methods of the same learning rate."""
    by_rate = defaultdict(list)
    for variant in map(Variant.parse, args.methods):
        own = args.dense_rate if variant.learner else RATES.get(variant.method, RATE)
        by_rate[args.rate or own].append(variant)
    training = {"train": args.train, "distill": args.distill, "epochs": args.epochs, "examples": args.examples}
    other: dict[str, Any] = {"factors": args.factors} if args.factors else {}
    if args.calibration_count:
        other["calibration"] = {"count": args.calibration_count}
    if args.iterations:
        other["effort"] = {"iterations": args.iterations, "screening": max(1, args.iterations // 3)}
    return [
        Grid(
            args.model,
            tuple(variants),
            tuple(args.ratios),
            tuple(args.tasks),
            args.seeds,
            data_dir=args.data_dir,
            fields={"training": {**training, "learning_rate": rate}} | other,
            dense={"epochs": args.dense_epochs, "learning_rate": args.dense_rate, "examples": args.dense_examples},
            first_seed=args.first_seed,
        )
        for rate, variants in by_rate.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--work", type=Path, default=Path("glue"))
    parser.add_argument("--model", default=str(find_minilm()))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--ratios", type=float, nargs="+", default=[2.8, 3.57])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--train", default="fixed", help="fixed, or none: factorized only")
    parser.add_argument("--distill", default="logits+hidden")
    parser.add_argument("--factors", help="type of the factors, such as int8; the ratio is then of dense int8 weights")
    parser.add_argument("--dense-epochs", type=float, default=5.0, help="of the dense teacher")
    parser.add_argument("--dense-rate", type=float, default=1e-4, help="learning rate of the dense teacher")
    parser.add_argument("--dense-examples", type=int, default=16_000, help="of a task for the teacher, at most")
    parser.add_argument("--epochs", type=float, default=1.0, help="of every method")
    parser.add_argument("--rate", type=float, help="learning rate of every method (default: what was found for it)")
    parser.add_argument("--examples", type=int, default=5_120, help="of a task for every method, at most")
    parser.add_argument("--calibration-count", type=int, help="as of the recipe (default: its own)")
    parser.add_argument("--iterations", type=int, help="of every fit, a third of it for trials (default: the recipe's)")
    parser.add_argument("--workers", type=int, default=1, help="compressions at a time")
    parser.add_argument("--seconds", type=float, default=3.0, help="spent on timing each model; 0: none")
    parser.add_argument("--show", action="store_true", help="run nothing: finished cells in WORK (of --tasks, --rate)")
    args = parser.parse_args()
    if args.show:
        asked = [row for row in finished(args.work).values() if row["task"] in args.tasks]
        rows = [row for row in asked if not args.rate or row["learning_rate"] == args.rate]
    else:
        rows = [row for grid in grids(args) for row in sweep(grid, args.work, args.workers, args.seconds)]
    dense = dense_scores(rows)
    tasks = [task for task in args.tasks if task in dense]
    print("| ratio | method | encoder | error | " + " | ".join(tasks) + " | mean | speed |")
    print("|" + "---|" * (len(tasks) + 6))
    print("| 1 | dense | 1 | 0 | " + " | ".join(f"{dense[task]:.2f}" for task in tasks) + " | | 1 |")
    for line in lines(rows):
        print(shown(line, tasks))


if __name__ == "__main__":
    main()
