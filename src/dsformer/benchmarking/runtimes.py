"""ONNX Runtime and OpenVINO as engines for dense models on CPUs, in float32 and int8.

Models are exported with eager attention and without dynamo, which both engines fuse best (measured on MiniLM: int8 runs
a fifth faster than with the newer exporter).
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.data import bundled_passages
from dsformer.errors import InputError, MissingExtraError
from dsformer.models.source import quiet

Batch = Mapping[str, Tensor]
Call = Callable[..., Any]
# Number of passages, and their greatest length in tokens, on which ranges of activations are measured.
CALIBRATION, LENGTH = 64, 128
INPUTS = ("input_ids", "attention_mask")


class Exported:
    """A dense model as an ONNX file, which is removed with this object.

    Args:
        model: to export.
        tokenizer: the model's.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: the model cannot be exported.
    """

    def __init__(self, model: nn.Module, tokenizer: Any):
        _require("onnx", ("onnx", "onnxruntime", "onnxscript"))
        self.tokenizer = tokenizer
        self._length = min(LENGTH, getattr(model.config, "max_position_embeddings", LENGTH))
        self._directory = tempfile.TemporaryDirectory()
        self.path = Path(self._directory.name) / "model.onnx"
        model.set_attn_implementation("eager")  # type: ignore[operator]
        sizes = {0: "batch", 1: "length"}
        try:
            with _silent(), torch.no_grad():
                torch.onnx.export(
                    _First(model),
                    # Two rows: the exporter would take sizes of one for constants.
                    tuple(self.batch("An example.", 16)[name].repeat(2, 1) for name in INPUTS),
                    self.path,
                    input_names=list(INPUTS),
                    output_names=["output"],
                    dynamic_axes=dict.fromkeys((*INPUTS, "output"), sizes),
                    dynamo=False,
                )
        except Exception as error:
            raise InputError(f"{type(model).__name__} cannot be exported to ONNX: {error}") from error

    def batch(self, text: str, length: int) -> Batch:
        """Tokenize one text to the model's inputs."""
        encoded = self.tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
        return {name: encoded[name] for name in INPUTS}

    def calibration(self) -> list[dict[str, Any]]:
        """Tokenize the texts on which ranges of activations are measured, as arrays."""
        passages = bundled_passages(CALIBRATION)
        return [{name: one.numpy() for name, one in self.batch(text, self._length).items()} for text in passages]


class _First(nn.Module):
    """A model with two inputs and one output, for export to a graph."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Run the model and return its first output."""
        return self.model(input_ids=ids, attention_mask=mask)[0]


class Sessions:
    """Runs a session that is made anew when torch's number of threads changes.

    Args:
        make: makes a session for a number of threads; its call takes arrays.
        exported: what sessions are made from.
        path: the file they read.
    """

    def __init__(self, make: Callable[[int], Callable[[dict[str, Any]], Any]], exported: Exported, path: Path):
        self._make, self._exported, self.path = make, exported, path
        self._made: dict[int, Callable[[dict[str, Any]], Any]] = {}
        self(**exported.batch("An example.", 16))

    @property
    def nbytes(self) -> int:
        """Bytes of the file, and of the weights beside it."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.stem}.*"))

    def __call__(self, **batch: Tensor) -> Any:
        """Run a batch on torch's present number of threads."""
        threads = torch.get_num_threads()
        if threads not in self._made:
            self._made = {threads: self._make(threads)}
        return self._made[threads]({name: tensor.numpy() for name, tensor in batch.items()})


def onnx(exported: Exported) -> Sessions:
    """Run in ONNX Runtime in float32, with all its optimizations."""
    return _onnx_sessions(exported, exported.path)


def onnx_int8(exported: Exported) -> Sessions:
    """Run in ONNX Runtime with dynamic quantization: int8 weights by output channel, activations at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = exported.path.with_name("int8.onnx")
    with _silent():
        quantize_dynamic(exported.path, path, per_channel=True, weight_type=QuantType.QInt8)
    return _onnx_sessions(exported, path)


def openvino(exported: Exported) -> Sessions:
    """Run in OpenVINO in float32."""
    _require("openvino", ("openvino",))
    return _openvino_sessions(exported, exported.path)


def openvino_int8(exported: Exported) -> Sessions:
    """Run in OpenVINO with post-training quantization by NNCF: int8 weights and activations, calibrated on books."""
    _require("openvino", ("openvino", "nncf"))
    with _silent():
        import nncf
        from openvino import Core, save_model

    path = exported.path.with_name("int8.xml")
    with _silent():
        quantized = nncf.quantize(
            Core().read_model(exported.path),
            nncf.Dataset(exported.calibration()),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=CALIBRATION,
        )
        save_model(quantized, path, compress_to_fp16=False)
    return _openvino_sessions(exported, path)


def _onnx_sessions(exported: Exported, path: Path) -> Sessions:
    import onnxruntime

    def make(threads: int) -> Callable[[dict[str, Any]], Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait for the next run would slow down the next contender.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda arrays: session.run(None, arrays)[0]

    return Sessions(make, exported, path)


def _openvino_sessions(exported: Exported, path: Path) -> Sessions:
    from openvino import Core

    def make(threads: int) -> Callable[[dict[str, Any]], Any]:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = Core().compile_model(path, "CPU", settings)
        return lambda arrays: compiled(arrays)[0]

    return Sessions(make, exported, path)


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress warnings, log lines and progress bars (NNCF draws its own on standard output)."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with quiet(), warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _require(extra: str, packages: tuple[str, ...]) -> None:
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(f"The way {extra}", extra)
