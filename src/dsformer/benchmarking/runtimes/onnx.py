"""ONNX Runtime: float32, dynamic int8 with and without its transformer optimizer, static int8.

Measured on MiniLM, one core of a Zen 4, onnxruntime 1.32: with the optimizer dynamic int8 takes 6 % less time for one
text of 16 tokens and 9 to 16 % more for 128 tokens and for eight texts, so there is a way for each. Static int8 is
quantized without it: fused layers stay in float32 behind their scales, and are as slow. Matrix products alone are
quantized; with all other operators the embeddings have a cosine of 0.76 with those in float32, not 0.93.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dsformer.benchmarking.runtimes.engine import Padded, Sessions
from dsformer.benchmarking.runtimes.exported import Exported, silent
from dsformer.errors import InputError
from dsformer.models.checkpoint import first_line
from dsformer.utils.hardware import processor

# Without these instructions sums of two products of unsigned and signed bytes may overflow 16 bits.
VNNI = ("AVX512-VNNI", "AVX-VNNI", "AMX-INT8", "NEON")
# What the optimizer calls families whose graphs are like BERT's.
_AS_BERT = ("bert", "roberta", "xlm-roberta", "distilbert", "camembert", "electra", "mpnet", "albert")


def onnx(exported: Exported) -> Padded:
    """Run in float32, with all optimizations of a session."""
    return run_file(exported.path, exported.tokenizer, exported)


def onnx_int8(exported: Exported) -> Padded:
    """Run with dynamic quantization: int8 weights by output channel, activations at run time."""
    return run_file(_dynamic(exported.path), exported.tokenizer, exported)


def onnx_fused_int8(exported: Exported) -> Padded:
    """Run with dynamic quantization after ``onnxruntime.transformers.optimizer`` has fused attention, norms and GELU.

    Raises:
        InputError: the optimizer has nothing for the family.
    """
    config: Any = exported.config
    if config.model_type not in _AS_BERT:
        raise InputError(f"way onnx-fused-int8: ONNX Runtime's optimizer has no {config.model_type} model")
    path = exported.path.with_name("fused.onnx")
    heads, width = config.num_attention_heads, config.hidden_size
    with silent():
        from onnxruntime.transformers import optimizer

        fused = optimizer.optimize_model(str(exported.path), "bert", num_heads=heads, hidden_size=width, opt_level=0)
        fused.save_model_to_file(str(path))
    return run_file(_dynamic(path), exported.tokenizer, exported)


def onnx_static_int8(exported: Exported) -> Padded:
    """Run with static quantization: int8 weights by output channel, activations in ranges measured on book passages."""
    path, prepared = exported.path.with_name("static.onnx"), exported.path.with_name("prepared.onnx")
    with silent():
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            """Gives the texts one after another."""

            def __init__(self) -> None:
                self._texts: Iterator[dict[str, Any]] = iter(exported.calibration())

            def get_next(self) -> dict[str, Any] | None:
                """Return the next text; None after the last."""
                return next(self._texts, None)

        quant_pre_process(exported.path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=_reduced(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return run_file(path, exported.tokenizer, exported)


def run_file(path: Path, tokenizer: Any, owner: object = None) -> Padded:
    """Run an ONNX file of a model; the first of its outputs counts.

    Args:
        path: of the file.
        tokenizer: the model's.
        owner: of the file, which is removed with it.

    Raises:
        InputError: ONNX Runtime cannot run it, or it has other inputs than encoders.
    """
    import onnxruntime

    def make(threads: int) -> Callable[..., Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait for the next run would slow down the next contender.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(f"{path}: ONNX Runtime cannot run it ({first_line(error)})") from error
        names = [one.name for one in session.get_inputs()]
        return lambda **batch: session.run(None, arrays(names, batch))[0]

    return Padded(Sessions(make), tokenizer, path=path, owner=owner)


def arrays(names: list[str], batch: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of these names as arrays; kinds of segments are all zero."""
    found = {name: tensor.numpy() for name, tensor in batch.items()}
    if "token_type_ids" in names:
        found["token_type_ids"] = found["attention_mask"] * 0
    return {name: found[name] for name in names}


def _dynamic(path: Path) -> Path:
    written = path.with_name(f"{path.stem}-int8.onnx")
    with silent():
        from onnx import TensorProto
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            path,
            written,
            per_channel=True,
            reduce_range=_reduced(),
            weight_type=QuantType.QInt8,
            # Shapes and types behind fused operators are not inferred.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
    return written


def _reduced() -> bool:
    return not set(VNNI) & set(processor().features)
