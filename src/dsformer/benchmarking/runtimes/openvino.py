"""OpenVINO: float32, and static int8 by NNCF."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsformer.benchmarking.runtimes.engine import Padded, Sessions
from dsformer.benchmarking.runtimes.exported import CALIBRATION, Exported, require, silent
from dsformer.benchmarking.runtimes.onnx import arrays
from dsformer.errors import InputError
from dsformer.models.checkpoint import first_line


def openvino(exported: Exported) -> Padded:
    """Run in float32."""
    require("openvino", "openvino")
    return run_file(exported.path, exported.tokenizer, exported)


def openvino_int8(exported: Exported) -> Padded:
    """Run with post-training quantization by NNCF: int8 weights and activations, calibrated on book passages."""
    require("openvino", "openvino", "nncf")
    with silent():
        import nncf
        from openvino import Core, save_model

    path = exported.path.with_name("int8.xml")
    with silent():
        quantized = nncf.quantize(
            Core().read_model(exported.path),
            nncf.Dataset(exported.calibration()),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=CALIBRATION,
        )
        save_model(quantized, path, compress_to_fp16=False)
    return run_file(path, exported.tokenizer, exported)


def run_file(path: Path, tokenizer: Any, owner: object = None) -> Padded:
    """Run a file of OpenVINO's or an ONNX file, with what is not int8 in float32; the first of its outputs counts.

    Args:
        path: of the file.
        tokenizer: the model's.
        owner: of the file, which is removed with it.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        InputError: OpenVINO cannot run it.
    """
    require("openvino", "openvino")
    from openvino import Core

    def make(threads: int) -> Callable[..., Any]:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            compiled = Core().compile_model(path, "CPU", settings)
        except Exception as error:
            raise InputError(f"{path}: OpenVINO cannot run it ({first_line(error)})") from error
        names = [one.get_any_name() for one in compiled.inputs]
        return lambda **batch: compiled(arrays(names, batch))[0]

    return Padded(Sessions(make), tokenizer, path=path, owner=owner)
