"""Time of the plain-PyTorch operators and layers against a dense layer, and the constants of the cost rule.

    python benchmarks/reference_cost.py [--threads 1] [--seconds 1.0]

Every figure is a ratio: time of the dense layer / time of the compressed one, more is better. The two run in turn, and
each pair gives one ratio; printed are the median and the quartiles.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from dsformer import ops
from dsformer.benchmarking.timing import Ratio, in_turn, timed
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.strategy import choose_strategy
from dsformer.ops import reference

SHAPES = ((1152, 384), (1536, 384), (384, 1536))
TOKENS = (16, 128, 1024)
RATIO = 2.8
VALUE_BITS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="for every figure")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.inference_mode(False), torch.no_grad():
        print(f"{RATIO}x of {VALUE_BITS}-bit values, {options.threads} thread(s), torch {torch.__version__}")
        print("| layer | pattern | r | s | tokens | operator | layer in evaluation mode | its way |")
        print("|---|---|---:|---:|---:|---|---|---|")
        for shape in SHAPES:
            for pattern in (Pattern(), Pattern(group=8)):
                for tokens in TOKENS:
                    print(row(shape, pattern, tokens, options.seconds), flush=True)
        print_constants(options.seconds)


def row(shape: tuple[int, int], pattern: Pattern, tokens: int, seconds: float) -> str:
    spec = spec_at_ratio(*shape, pattern)
    form = random_form(spec)
    x, weight, bias = torch.randn(tokens, shape[1]), form.dense(), torch.randn(shape[0])
    layer = DenseSparseLinear(spec).eval()
    layer.fill(form)
    layer.bias = nn.Parameter(bias)
    indices = form.indices.int()
    settings = (spec.core, pattern.group, spec.canonical, spec.orientation == "output", spec.out_features)

    def dense() -> Tensor:
        return linear(x, weight, bias)

    def operator() -> Tensor:
        return ops.dense_sparse_linear(x, form.dictionary, form.values, indices, bias, None, *settings)

    torch.testing.assert_close(operator(), dense(), rtol=1e-3, atol=1e-3)
    cells = [f"{shape[0]}x{shape[1]}", pattern, spec.atoms, spec.nonzeros, tokens]
    cells += [shown(paired(dense, work, seconds)) for work in (operator, lambda: layer(x))] + [choose_strategy(spec)]
    return "| " + " | ".join(map(str, cells)) + " |"


def spec_at_ratio(out_features: int, in_features: int, pattern: Pattern) -> FormSpec:
    """Half again as many atoms as a low rank of the same size could have, and the non-zeros that are left."""
    orientation = "input" if out_features >= in_features else "output"
    budget = out_features * in_features * VALUE_BITS / RATIO
    atoms = int(1.5 * budget / VALUE_BITS / (out_features + in_features)) // 8 * 8

    def spec(nonzeros: int) -> FormSpec:
        return FormSpec(orientation, out_features, in_features, atoms=atoms, nonzeros=nonzeros, pattern=pattern)

    return spec(max(s for s in range(1, atoms) if spec(s).stored_bits(VALUE_BITS) <= budget))


def random_form(spec: FormSpec) -> Form:
    shape = (spec.atoms, spec.width) if spec.orientation == "input" else (spec.width, spec.atoms)
    picks = torch.rand(spec.groups, spec.candidates).topk(spec.nonzeros).indices.sort().values
    values = torch.randn(spec.units, spec.nonzeros) / spec.nonzeros**0.5
    return Form(spec, torch.randn(shape) / spec.width**0.5, values, picks)


def paired(base: Callable[[], object], other: Callable[[], object], seconds: float) -> Ratio:
    """Ratios of the times of the two, run in turn."""
    return Ratio.of(*in_turn([partial(timed, base), partial(timed, other)], seconds, most=sys.maxsize))


def shown(ratio: Ratio) -> str:
    return f"{ratio.middle:5.2f} ({ratio.low:.2f} - {ratio.high:.2f})"


def print_constants(seconds: float) -> None:
    """What gathering costs in multiply-adds of a matrix product; the rule's constants must stay near."""
    units, group, atoms, nonzeros, tokens = 1536, 8, 192, 64, 128
    count = units // group * nonzeros
    z, codes = torch.randn(atoms, tokens), torch.randn(units, atoms)
    picks = torch.randint(0, atoms, (count,), dtype=torch.int32)
    gathered, values = torch.randn(units // group, nonzeros, tokens), torch.randn(units // group, group, nonzeros)
    rows = gathered.view(count, tokens)
    measured: dict[str, tuple[Callable[[], object], int]] = {
        "BATCHED": (lambda: torch.bmm(values, gathered), units * nonzeros),
        "GATHER": (lambda: z.index_select(0, picks), count),
        "SCATTER": (lambda: torch.zeros_like(z).index_add_(0, picks, rows), count),
        "MOVE": (lambda: codes.t().contiguous(), codes.numel() // tokens),
    }
    for name, (work, amount) in measured.items():
        share = paired(lambda: codes @ z, work, seconds).middle
        print(f"{name:8} {units * atoms / amount / share:5.1f}  (used: {getattr(reference, name)})")


if __name__ == "__main__":
    main()
