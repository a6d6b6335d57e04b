"""How much of a forward pass is linear layers, and how much all the rest.

    OMP_NUM_THREADS=1 python benchmarks/linear_share.py DENSE COMPRESSED [COMPRESSED ...] [--batch 1 --length 128]

Dense in PyTorch (fp32, bf16) and in ONNX Runtime (dynamic int8, by its own profiler: quantizing the input counts as
part of a layer), compressed in PyTorch, eager. Medians over passes made in turn, in milliseconds.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.benchmarking.engines import open_contender
from dsformer.benchmarking.run import Setting, prepared
from dsformer.benchmarking.runtimes.exported import Exported
from dsformer.benchmarking.runtimes.onnx import onnx_int8
from dsformer.nn.linear import DenseSparseLinear

# What a dense layer becomes when it is quantized.
LINEAR_OPERATORS = ("MatMulInteger", "DynamicQuantizeLinear", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm")
Batch = Mapping[str, Tensor]


class Watched:
    """A PyTorch model whose linear layers are timed."""

    def __init__(self, directory: Path, way: str):
        self.contender = open_contender(directory, way)
        self.model = self.contender.engine.call  # type: ignore[attr-defined]
        self._inside, self._started = 0.0, 0.0
        for module in self.model.modules():
            if isinstance(module, (nn.Linear, DenseSparseLinear)):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def _enter(self, *_: Any) -> None:
        self._started = perf_counter()

    def _leave(self, *_: Any) -> None:
        self._inside += perf_counter() - self._started

    def seconds(self, batch: Batch) -> tuple[float, float]:
        """Of linear layers, and of all the rest."""
        self._inside, started = 0.0, perf_counter()
        with torch.no_grad():
            self.model(**batch)
        whole = perf_counter() - started
        return self._inside, whole - self._inside


def onnx_seconds(directory: Path, batch: Batch, passes: int) -> list[tuple[float, float]]:
    """The same of ONNX Runtime: by its profiler, whole passes from outside it and with it off."""
    import onnxruntime

    contender = open_contender(directory)
    exported = Exported(contender.engine.call, contender.tokenizer)  # type: ignore[attr-defined]
    engine = onnx_int8(exported)
    arrays = {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}
    wholes = [_timed(lambda: engine.run(batch)) for _ in range(passes)]
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        session = onnxruntime.InferenceSession(engine.path, options, providers=["CPUExecutionProvider"])
        for _ in range(passes):
            session.run(None, arrays)
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    linear = sum(event["dur"] for event in nodes if event["args"]["op_name"] in LINEAR_OPERATORS)
    share = linear / sum(event["dur"] for event in nodes)
    return [(share * whole, (1 - share) * whole) for whole in wholes]


def _timed(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", type=Path)
    parser.add_argument("compressed", type=Path, nargs="+")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--passes", type=int, default=30)
    options = parser.parse_args()
    watched = [Watched(options.dense, way) for way in ("eager", "bf16")]
    watched += [Watched(one, way) for one in options.compressed for way in ("eager", "bf16")]
    batch = prepared(watched[0].contender, Setting(options.batch, options.length, torch.get_num_threads()))
    for one in watched:
        one.seconds(batch)
    rows: dict[str, list[tuple[float, float]]] = {one.contender.name: [] for one in watched}
    for _ in range(options.passes):
        for one in watched:
            rows[one.contender.name].append(one.seconds(batch))
    rows[f"{options.dense} ONNX Runtime int8"] = onnx_seconds(options.dense, batch, options.passes)
    print(f"{options.batch} x {options.length}, {torch.get_num_threads()} thread(s), ms")
    print("| | linear layers | the rest | all |\n|---|---:|---:|---:|")
    for name, times in rows.items():
        linear, rest = (1e3 * median(pair[i] for pair in times) for i in (0, 1))
        print(f"| {name} | {linear:.2f} | {rest:.2f} | {1e3 * median(map(sum, times)):.2f} |")


if __name__ == "__main__":
    main()
