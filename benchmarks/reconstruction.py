"""Whitened relative error of every block of MiniLM at equal stored bits, per ratio and value size.

Errors are ``‖(W - Ŵ) L‖ / ‖W L‖`` with ``L Lᵀ`` = Gram of the inputs + 1e-3 ridge. Bits count values and supports
(and permutations); sizes of values only enter the count, nothing is quantized. ``--gram FILE`` takes Gram matrices
instead of calibrating: a torch file of {module name: (weight, Gram)}. ``--iterations`` above the default gives the
fits more time than ``dsformer compress`` does. ``--floor FILE`` compares with lines
such as ``layer 0 qkv 1152x384 2.0x svd 0.2 free 0.1`` and exits with 1 where an error lies above one of them.
"""

import argparse
import re
import sys
from pathlib import Path
from time import perf_counter

import torch
from transformers import AutoModel, AutoTokenizer

from dsformer.calibration.batching import make_batches
from dsformer.calibration.second_moments import collect_second_moments
from dsformer.calibration.trace import trace
from dsformer.cli.demo import find_minilm
from dsformer.data import bundled_passages
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods import fit_weight
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget, rank_within
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern
from dsformer.format.row_spans import RowSpan
from dsformer.utils.threads import single_threaded_pool

ROLES = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "up": ("intermediate.dense",),
    "out": ("attention.output.dense",),
    "down": ("output.dense",),
}
WIDTH, HEADS, NEURONS = 384, range(0, 384, 32), 1536
# Rows that MiniLM lets change places, as `compress` finds by trying: inside heads, and all neurons.
FREE_ROWS = {
    "qkv": (
        *(RowSpan((head, WIDTH + head), 32) for head in HEADS),
        *(RowSpan((2 * WIDTH + head,), 32) for head in HEADS),
    ),
    "up": (RowSpan((0,), NEURONS),),
}
# What is measured of down-projections, whose output dictionaries make everything ten times slower.
OF_DOWN = ("svd", "prune", "free")
# Column -> (method, pattern). "svd each" is low rank of each stacked layer on its own.
COLUMNS = {
    "svd": ("low_rank", "free"),
    "prune": ("pruning", "free"),
    "free": ("dense_sparse", "free"),
    "grouped8": ("dense_sparse", "grouped(8)"),
    "2:4": ("dense_sparse", "2:4"),
}


def calibrated() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """{module name: (weight, Gram)} of MiniLM on the bundled passages."""
    directory = find_minilm()
    model, tokenizer = AutoModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    texts = make_batches(tokenizer, bundled_passages(256), 128, 16, lambda name: True)
    tracing = trace(model, texts[-1])
    grams = collect_second_moments(model, texts, tracing.blocks, []).grams
    return {
        name: (module.weight.detach(), grams[block.name])
        for block in tracing.blocks
        for name, module in zip(block.names, block.modules, strict=True)
    }


def stacked(linears: dict[str, tuple[torch.Tensor, torch.Tensor]], layer: int, role: str) -> Target:
    """One block of a layer."""
    names = [f"encoder.layer.{layer}.{part}" for part in ROLES[role]]
    weights = [linears[name][0].float() for name in names]
    metric = Metric.from_gram(linears[names[0]][1])
    free = FREE_ROWS.get(role)
    return Target(torch.cat(weights), metric, tuple(len(weight) for weight in weights), free=free)


def row(weight: Target, ratio: float, bits: int, effort: Effort, columns: list[str]) -> dict[str, float]:
    """Errors of every column for one block at one ratio."""
    rows, width = weight.matrix.shape
    budget = Budget(int(rows * width * bits / ratio), bits, weight.free is not None)
    errors = {}
    if len(weight.members) > 1:
        errors["svd each"] = each(weight, ratio, bits)
    for column in columns:
        method, pattern = COLUMNS[column]
        errors[column] = fit_weight(weight, budget, Pattern.parse(pattern), method, effort).error
    return errors


def each(weight: Target, ratio: float, bits: int) -> float:
    """Low rank of each stacked layer on its own, as one relative error."""
    total = 0.0
    for part in weight.matrix.split(list(weight.members)):
        one = Target(part, weight.metric, (len(part),))
        shape = (part.shape[0], part.shape[1])
        rank = rank_within(shape, Budget(int(part.numel() * bits / ratio), bits))
        error = one.low_rank(rank)[1]
        total += error**2 * one.input.energy
    return (total / weight.input.energy) ** 0.5


def read_floor(path: Path) -> dict[tuple[int, str, float], dict[str, float]]:
    """Errors to stay at or below, as printed by a run."""
    floor = {}
    for line in path.read_text().splitlines():
        if match := re.match(r"layer (\d+) (\w+)\s+\d+x\d+ ([\d.]+)x\s+(.*)", line):
            cells = re.findall(r"(svd each|svd|prune\+LS|free|grouped8|2:4) ([\d.]+)", match[4])
            floor[int(match[1]), match[2], float(match[3])] = {name: float(value) for name, value in cells}
    return floor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=list(range(6)))
    parser.add_argument("--ratios", type=float, nargs="+", default=[2.0, 2.8, 3.57])
    parser.add_argument("--bits", type=int, nargs="+", default=[16, 8, 4])
    parser.add_argument("--columns", nargs="+", choices=list(COLUMNS), default=list(COLUMNS))
    parser.add_argument("--iterations", type=int, default=Effort.iterations)
    parser.add_argument("--screening", type=int, default=Effort.screening)
    parser.add_argument("--gram", type=Path)
    parser.add_argument("--floor", type=Path)
    args = parser.parse_args()
    linears = torch.load(args.gram) if args.gram else calibrated()
    floor = read_floor(args.floor) if args.floor else {}
    effort, started, above = Effort(args.iterations, args.screening), perf_counter(), 0
    blocks = [(bits, layer, role) for bits in args.bits for layer in args.layers for role in ROLES]

    def work(block: tuple[int, int, str]) -> list[tuple[float, dict[str, float]]]:
        bits, layer, role = block
        with torch.no_grad():
            weight = stacked(linears, layer, role)
            columns = [column for column in args.columns if role != "down" or column in OF_DOWN]
            return [(ratio, row(weight, ratio, bits, effort, columns)) for ratio in args.ratios]

    with single_threaded_pool() as pool:
        for (bits, layer, role), rows in zip(blocks, pool.map(work, blocks), strict=True):
            shape = "x".join(str(side) for side in stacked(linears, layer, role).matrix.shape)
            for ratio, errors in rows:
                limits = floor.get((layer, role, ratio), {})
                # grouped(8) has to lie 5% below its figure.
                limits = {name: value * (0.95 if name == "grouped8" else 1) for name, value in limits.items()}
                worse = [name for name in errors if errors[name] > limits.get(name, 9.0) + 5e-5]
                above += len(worse)
                cells = "  ".join(f"{name} {error:.4f}" for name, error in errors.items())
                note = f"  ABOVE FLOOR: {', '.join(worse)}" if worse else ""
                print(f"{bits:2d} bits layer {layer} {role:4s} {shape} {ratio}x  {cells}{note}", flush=True)
    print(
        f"{perf_counter() - started:.0f} s, {above} cells above the floor"
        if floor
        else f"{perf_counter() - started:.0f} s"
    )
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
