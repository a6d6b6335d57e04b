"""Time of the native kernels against dense layers.

    OMP_NUM_THREADS=1 python benchmarks/layer_speed.py [--threads 1] [--seconds 0.5] [--shapes 1152x384 ...]

Every figure is a ratio: time of the dense layer / time of the plan, more is better; the two run in turn. Printed are
the median and the quartiles of the ratios. Below each line, GFLOP/s of the multiply-adds that count, dense | plan. With
int8 the dense layer is ONNX Runtime's, quantized dynamically (it and the plan take float32 and round it). The
forms are those at which the search begins for 2.8x, with random numbers; 1152x384 is query, key and value, stacked for
the dense layer too.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from dsformer.benchmarking.timing import Ratio, in_turn, timed
from dsformer.factorization.methods.dense_sparse import families
from dsformer.factorization.search import Budget, rank_within
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.quantized import quantize_form
from dsformer.format.spec import FormSpec
from dsformer.ops.cpu import CpuPlan, describe

SHAPES = ("1152x384", "1536x384", "384x1536", "384x384", "3072x768", "768x3072")
PATTERNS = ("grouped(8)", "free", "2:4")
TOKENS = (1, 16, 128, 512, 4096)
RATIO = 2.8
MEMBERS = {"1152x384": (384, 384, 384)}
# A measurement shorter than this would be mostly noise.
SHORTEST = 5e-4


@dataclass(frozen=True)
class Timing:
    """How the two compare, and the median seconds of one run of each."""

    ratio: Ratio
    dense: float
    plan: float

    def __str__(self) -> str:
        return f"{self.ratio.middle:.2f} ({self.ratio.low:.2f}-{self.ratio.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="for every figure")
    parser.add_argument("--shapes", nargs="*", default=SHAPES)
    parser.add_argument("--patterns", nargs="*", default=PATTERNS)
    parser.add_argument("--tokens", nargs="*", type=int, default=TOKENS)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--tuning", nargs="*", default=[], help="name=value of dsf_tuning")
    options = parser.parse_args()
    tuning = {name: int(value) for name, value in (pair.split("=") for pair in options.tuning)}
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)  # of the quantizer
    torch.manual_seed(0)
    print(f"{RATIO}x, {options.dtype}, {options.threads} thread(s), torch {torch.__version__}, kernels {describe()}")
    print("| layer | pattern | r | c | s | multiply-adds |" + "".join(f" {t} |" for t in options.tokens))
    print("|---|---|" + "---:|" * (4 + len(options.tokens)))
    with torch.inference_mode():
        for shape in options.shapes:
            for pattern in options.patterns:
                print_rows(shape, pattern, options, tuning)


def print_rows(shape: str, pattern: str, options: argparse.Namespace, tuning: dict[str, int]) -> None:
    spec = spec_at_ratio(shape, Pattern.parse(pattern), 8 * getattr(torch, options.dtype).itemsize)
    timings = [measure(shape, spec, tokens, options, tuning) for tokens in options.tokens]
    dense = spec.out_features * spec.in_features
    head = f"| {shape} | {pattern} | {spec.atoms} | {spec.core} | {spec.nonzeros} | {dense / spec.value_count:.2f} |"
    print(head + "".join(f" {timing} |" for timing in timings), flush=True)
    speeds = [
        f" {2e-9 * tokens * dense / timing.dense:.0f} \\| {2e-9 * tokens * spec.value_count / timing.plan:.0f} |"
        for tokens, timing in zip(options.tokens, timings, strict=True)
    ]
    print("|  |  |  |  |  | GFLOP/s |" + "".join(speeds), flush=True)


def measure(shape: str, spec: FormSpec, tokens: int, options: argparse.Namespace, tuning: dict[str, int]) -> Timing:
    dtype = getattr(torch, options.dtype)
    members = MEMBERS.get(shape, (spec.out_features,))
    form = random_form(spec, members)
    x, weight, bias = torch.randn(tokens, spec.in_features), form.dense(), torch.randn(spec.out_features)
    if dtype == torch.int8:
        plan = CpuPlan.of(quantize_form(form), bias, members, tuning=tuning)
        dense = dynamic_int8(weight, bias, options.threads)
        error = (torch.cat(plan(x), 1) - linear(x, weight, bias)).norm() / linear(x, weight).norm()
        assert error < 0.03, error
        array = x.numpy()
        return paired(lambda: dense(array), lambda: plan(x), options.seconds)
    stored = replace(form, values=form.values.to(dtype), dictionary=form.dictionary.to(dtype))
    x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    plan = CpuPlan.of(stored, bias, members, tuning=tuning)
    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(torch.cat(plan(x), 1), linear(x, weight, bias), rtol=tolerance, atol=tolerance)
    return paired(lambda: linear(x, weight, bias), lambda: plan(x), options.seconds)


def dynamic_int8(weight: Tensor, bias: Tensor, threads: int) -> Callable[[Any], Any]:
    """A dense layer in ONNX Runtime, weights int8 by output, the input rounded when it is there."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    layer = nn.Linear(*weight.t().shape)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, path = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        # Three dimensions: a product with two of them would become an operator that is not quantized.
        example = torch.randn(1, 2, weight.shape[1])
        torch.onnx.export(
            layer, (example,), plain, input_names=["x"], dynamic_axes={"x": {1: "tokens"}}, dynamo=False, verbose=False
        )
        quantize_dynamic(plain, path, per_channel=True, weight_type=QuantType.QInt8)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.log_severity_level = threads, 3
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda array: session.run(None, {"x": array[None]})


def spec_at_ratio(shape: str, pattern: Pattern, value_bits: int) -> FormSpec:
    """The first form the search looks at."""
    out_features, in_features = map(int, shape.split("x"))
    budget = Budget(int(out_features * in_features * value_bits / RATIO), value_bits)
    size = (out_features, in_features)
    family = families(size, pattern, shape in MEMBERS)[0]
    specs = family.specs(size, budget, rank_within(size, budget))
    return specs[min(specs, key=lambda multiple: abs(multiple - family.start))]


def random_form(spec: FormSpec, members: tuple[int, ...]) -> Form:
    atoms = (spec.atoms, spec.width) if spec.orientation == "input" else (spec.width, spec.atoms)
    kept = spec.core + spec.nonzeros
    values = torch.randn(spec.units, kept) / kept**0.5
    return Form(spec, torch.randn(atoms) / spec.width**0.5, values, random_support(spec), random_order(spec, members))


def random_support(spec: FormSpec) -> Tensor:
    n, m = spec.pattern.n, spec.pattern.m
    if not m:
        return torch.rand(spec.groups, spec.candidates).topk(spec.nonzeros).indices.sort().values
    sets = spec.candidates // m
    picks = torch.rand(spec.groups, sets, m).topk(n).indices * sets + torch.arange(sets).view(1, -1, 1)
    return picks.view(spec.groups, -1).sort().values


def random_order(spec: FormSpec, members: tuple[int, ...]) -> Tensor | None:
    if not spec.permuted:
        return None
    sizes, start, parts = members if spec.orientation == "input" else (spec.units,), 0, []
    for size in sizes:
        parts.append(start + torch.randperm(size).view(-1, spec.pattern.group).sort(1).values.view(-1))
        start += size
    return torch.cat(parts)


def paired(dense: Callable[[], object], plan: Callable[[], object], seconds: float) -> Timing:
    """Runs the two in turn, as often in a row as it takes to measure."""
    repeats = [max(1, round(SHORTEST / min(timed(run, 1) for _ in range(5)))) for run in (dense, plan)]
    times = in_turn([partial(timed, dense, repeats[0]), partial(timed, plan, repeats[1])], seconds)
    return Timing(Ratio.of(*times), *map(median, times))


if __name__ == "__main__":
    main()
