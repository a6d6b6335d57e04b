"""Time and memory of looking up rows of a compressed embedding.

    OMP_NUM_THREADS=1 python benchmarks/embedding_speed.py [--threads 1] [--seconds 1]

The table has the size of MiniLM's (30522x384), 2x smaller than a dense one of the same type, free pattern, random
numbers. Microseconds of a lookup, median, of the dense table, of the operator (unpacked indices kept) and of the native
kernels, which run in turn; the ratio operator / kernels with its quartiles. Memory is what is there after a lookup
beside the stored tensors.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from dsformer.benchmarking.timing import Ratio, in_turn, timed
from dsformer.factorization.methods.dense_sparse import families
from dsformer.factorization.search import Budget, rank_within
from dsformer.format.form import Form
from dsformer.format.pattern import FREE
from dsformer.format.quantized import quantize_form
from dsformer.format.spec import FormSpec
from dsformer.nn.embedding import DenseSparseEmbedding
from dsformer.ops.cpu import describe

ROWS, WIDTH, RATIO = 30_522, 384, 2.0
TOKENS = (1, 16, 128, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="for every figure")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{ROWS}x{WIDTH}, {RATIO}x, {options.threads} thread(s), kernels {describe()}")
    print("| type | tokens | dense | operator | kernels | operator / kernels | unpacked by the operator |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        print_rows(dtype, options.seconds)


@torch.no_grad()
def print_rows(dtype: torch.dtype, seconds: float) -> None:
    layer, dense = embeddings(dtype)
    for tokens in TOKENS:
        ids = torch.randint(0, ROWS, (tokens,))
        torch.testing.assert_close(layer(ids).float(), layer.operate(ids).float(), rtol=0.02, atol=0.02)
        runs: list[Callable[[], Tensor]] = [partial(one, ids) for one in (dense, layer.operate, layer)]
        times = in_turn([partial(timed, run, 3) for run in runs], seconds)
        ratio = Ratio.of(times[1], times[2])
        cells = "".join(f" {1e6 * median(one):.0f} |" for one in times)
        kept = f"{unpacked(layer) / 1e6:.1f} MB"
        name = str(dtype).removeprefix("torch.")
        print(f"| {name} | {tokens} |{cells} {ratio} | {kept} |", flush=True)


def embeddings(dtype: torch.dtype) -> tuple[DenseSparseEmbedding, nn.Embedding]:
    """A compressed table and the dense one of the type its rows have."""
    bits = 8 * dtype.itemsize
    budget = Budget(int(ROWS * WIDTH * bits / RATIO), bits)
    family = families((ROWS, WIDTH), FREE, False)[0]
    specs = family.specs((ROWS, WIDTH), budget, rank_within((ROWS, WIDTH), budget))
    form = random_form(specs[min(specs, key=lambda multiple: abs(multiple - family.start))])
    rows = torch.float32 if dtype == torch.int8 else dtype
    layer = DenseSparseEmbedding(form.spec, dtype=rows, int8=dtype == torch.int8).eval().requires_grad_(False)
    layer.fill(quantize_form(form) if dtype == torch.int8 else form)
    return layer, nn.Embedding(ROWS, WIDTH, dtype=rows)


def random_form(spec: FormSpec) -> Form:
    indices = torch.rand(spec.groups, spec.candidates).topk(spec.nonzeros).indices.sort().values
    values = torch.randn(spec.units, spec.core + spec.nonzeros) / (spec.core + spec.nonzeros) ** 0.5
    return Form(spec, torch.randn(spec.atoms, spec.width) / spec.width**0.5, values, indices)


def unpacked(layer: DenseSparseEmbedding) -> int:
    """Bytes of what the operator has unpacked."""
    indices, floats = layer.indices, layer.values
    return indices.nbytes + (floats.nbytes if layer.precision else 0)


if __name__ == "__main__":
    main()
