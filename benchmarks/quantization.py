"""MiniLM at equal stored bits, in fewer bits a value: dense weights rounded, and factors rounded.

    python benchmarks/quantization.py --data-dir DIR --results results.jsonl

Nothing is trained. Every cell is METHOD:FACTORS:RATIO[:all], the ratio being that of the stored bytes of the linear
layers in float32, everything counted, whatever the type: so cells of one ratio take the same space. With ``all`` it is
the recipe's own, of the whole file with its weights in the type of the factors. STS-B is read from
``DIR/glue-stsb``; Banking77 is bundled. Finished cells are kept in the results file, so an interrupted run goes on
where it stopped.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import dsformer
from dsformer.cli.demo import find_minilm
from dsformer.format.precision import FACTORS
from dsformer.models.checkpoint import weight_bytes
from finished import Finished, Row

TASKS = ("banking77", "stsb", "fidelity")
# A dense model has 8.04 bits a weight in int8 and a quarter of a bit more than its own in fewer.
CELLS = (
    "gptq:float:3.95",
    "gptq:float:7.4",
    "rtn:float:7.4",
    "dense_sparse:int8:7.4",
    "gptq:float:9.6",
    "dense_sparse:int8:9.6",
    "dense_sparse:int4:9.6",
    "gptq:float:13.8",
    "dense_sparse:int8:13.8",
    "dense_sparse:int8+int4:13.8",
    "dense_sparse:int4:13.8",
    "low_rank:int4:13.8",
    "pruning:int4:13.8",
    "dense_sparse:int4:22.4",
    "dense_sparse:int4:1.3:all",
)


def measure(cell: str, data_dir: Path | None) -> Row:
    """Compress once and evaluate what was written."""
    method, factors, ratio, *scope = cell.split(":")
    own = float(ratio)
    if factors in FACTORS and not scope:
        own *= FACTORS[factors].least / 32
    original = find_minilm()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "model"
        done = dsformer.compress(original, out, method=method, factors=factors, ratio=own, scope=(*scope, "encoder")[0])
        scores = dsformer.evaluate(out, TASKS, data_dir, original=original)
        linear = done.summary.encoder_blocks
        return {
            "file": weight_bytes(out),
            "layers": sum(block.bytes_after for block in linear),
            "bits": 8 * sum(b.bytes_after - b.bias for b in linear) / sum(b.shape[0] * b.shape[1] for b in linear),
            "error": done.summary.mean_error,
            "seconds": done.summary.seconds,
            **{task: score.value for task, score in scores.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results", type=Path, default=Path("quantization.jsonl"))
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="METHOD:FACTORS:RATIO[:all]")
    args = parser.parse_args()
    finished = Finished(args.results, "cell")
    for cell in args.cells:
        finished.get(cell, partial(measure, cell, args.data_dir))
    columns = "over float32 | method | factors | bits a weight | layers, bytes | file, bytes | error"
    print(f"| {columns} | Banking77 | STS-B | fidelity |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in sorted(finished.rows, key=lambda row: float(row["cell"].split(":")[2])):
        method, factors, ratio, *scope = row["cell"].split(":")
        print(
            f"| {ratio}x{' of all' if scope else ''} | {method} | {factors} | {row['bits']:.2f} | {row['layers']:,} "
            f"| {row['file']:,} | {row['error']:.4f} "
            f"| {row['banking77']:.2f} | {row['stsb']:.2f} | {row['fidelity']:.2f} |"
        )


if __name__ == "__main__":
    main()
