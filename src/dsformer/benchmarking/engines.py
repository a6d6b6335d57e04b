"""Models opened for benchmarks, and the ways to run one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.benchmarking.runtimes import native, onnx, openvino
from dsformer.benchmarking.runtimes.ctranslate2 import CTranslate2
from dsformer.benchmarking.runtimes.engine import Engine, Padded, Texts
from dsformer.benchmarking.runtimes.exported import Exported, size_of
from dsformer.benchmarking.runtimes.files import is_file_way, open_file
from dsformer.errors import InputError
from dsformer.models.casting import cast_model
from dsformer.models.checkpoint import read_json, weight_bytes
from dsformer.models.config import METHOD
from dsformer.models.inputs import has_decoder_input
from dsformer.models.load import load
from dsformer.models.pretrained import load_tokenizer
from dsformer.models.source import find_directory, open_source

# Limit of compiled graphs of one function.
COMPILATIONS = 512


class Opened:
    """A model directory on its way into an engine.

    Args:
        model: a directory, compressed or dense, or a hub name.

    Raises:
        InputError: there is no such model.
    """

    def __init__(self, model: str | Path):
        self.model = model
        directory = find_directory(model)
        self.top, self.place = directory.top, directory.place
        self.compressed = _is_compressed(self.place)

    @cached_property
    def network(self) -> Any:
        """The model in PyTorch, which only some engines need."""
        return load(self.place) if self.compressed else open_source(self.model).model.eval()

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return load_tokenizer(self.place)

    def cast(self, dtype: torch.dtype) -> nn.Module:
        """Cast the model in PyTorch and return it."""
        cast_model(self.network, dtype)
        return self.network

    def padded(self, call: Callable[..., Any]) -> Padded:
        """Make an engine of PyTorch's."""
        return Padded(call, self.tokenizer, has_decoder_input(self.network))


def _compiled(model: nn.Module) -> Callable[..., Any]:
    # Contenders of one class share its code, and each is compiled for every size.
    torch._dynamo.config.cache_size_limit = COMPILATIONS
    torch._dynamo.config.accumulated_cache_size_limit = COMPILATIONS
    return torch.compile(model, dynamic=False)


def _exported(run: Callable[[Exported], Engine]) -> Callable[[Opened], Engine]:
    return lambda opened: run(Exported(opened.network, opened.tokenizer))


def _native(dtype: str | None) -> Callable[[Opened], Engine]:
    return lambda opened: native.Native(opened.place, dtype)


FOREIGN: dict[str, Callable[[Opened], Engine]] = {
    "onnx": _exported(onnx.onnx),
    "onnx-int8": _exported(onnx.onnx_int8),
    "onnx-fused-int8": _exported(onnx.onnx_fused_int8),
    "onnx-static-int8": _exported(onnx.onnx_static_int8),
    "openvino": _exported(openvino.openvino),
    "openvino-int8": _exported(openvino.openvino_int8),
    "ctranslate2-int8": lambda opened: CTranslate2(opened.place, opened.tokenizer),
}
"""Engines of others: they run dense models only."""
DENSE_ONLY = (*FOREIGN, "native-int8")

WAYS: dict[str, Callable[[Opened], Engine]] = {
    "eager": lambda opened: opened.padded(opened.network),
    "fp32": lambda opened: opened.padded(opened.cast(torch.float32)),
    "bf16": lambda opened: opened.padded(opened.cast(torch.bfloat16)),
    "compile": lambda opened: opened.padded(_compiled(opened.network)),
    "compile-bf16": lambda opened: opened.padded(_compiled(opened.cast(torch.bfloat16))),
    **{name: _native(dtype) for name, dtype in native.TYPES.items()},
    **FOREIGN,
}
"""Ways to run a model, by name: in PyTorch as it was saved, converted to another type or compiled, and in other
engines. The path of an engine's file in the model's directory is one more way (``runtimes/files.py``)."""


@dataclass(frozen=True)
class Contender:
    """A model that is ready to run.

    Attributes:
        name: the model as given, and the way it runs.
        model: as given.
        way: it runs.
        tokenizer: of the model.
        engine: that runs it.
        disk_bytes: of its weight files.
        memory_bytes: of parameters and buffers, or the file of another engine; without the packed weights of kernels.
        load_seconds: from the directory to a model that can run, export and conversion included.
    """

    name: str
    model: str | Path
    way: str
    tokenizer: Any
    engine: Engine
    disk_bytes: int
    memory_bytes: int
    load_seconds: float

    def seconds(self, prepared: Any) -> float:
        """Time one forward pass of what the engine has prepared, in seconds."""
        started = perf_counter()
        self.engine.run(prepared)
        return perf_counter() - started

    def outputs(self, texts: Texts) -> list[Tensor]:
        """Run texts as one batch and return what the model says of each, in float32."""
        return [one.float() for one in self.engine.outputs(texts)]


def open_contender(model: str | Path, way: str = "eager") -> Contender:
    """Open a model directory, compressed or dense, or a hub name, to run in one of ``WAYS``.

    Raises:
        InputError: there is no such model or way, or the way cannot run a compressed model.
        MissingExtraError: the engine is not installed.
    """
    if way not in WAYS and not is_file_way(way):
        raise InputError(f"way {way!r} is not one of {', '.join(WAYS)}")
    started = perf_counter()
    opened = Opened(model)
    if _is_for_dense(way) and opened.compressed:
        raise InputError(f"{model}: way {way} runs dense models only; write one with dsformer densify")
    engine = WAYS[way](opened) if way in WAYS else open_file(opened.top, way, opened.tokenizer)
    took = perf_counter() - started
    disk = memory = weight_bytes(opened.place) if engine.path is None else size_of(engine.path)
    if isinstance(engine, Padded) and engine.path is None:
        stored = [*opened.network.parameters(), *opened.network.buffers()]
        memory = sum(tensor.nbytes for tensor in {id(one): one for one in stored}.values())
    return Contender(f"{model} {way}", model, way, opened.tokenizer, engine, disk, memory, took)


def open_contenders(models: Sequence[str | Path], ways: Sequence[str]) -> list[Contender]:
    """Open every model in every way that can run it.

    Raises:
        InputError: there is no such model or way, or no way can run a model.
        MissingExtraError: an engine is not installed.
    """
    return [open_contender(model, way) for model in models for way in possible(model, ways)]


def possible(model: str | Path, ways: Sequence[str]) -> Sequence[str]:
    """Return the ways that can run a model: some run dense ones alone.

    If no other way is asked for, all are returned: opening the model raises the error that explains it.
    """
    own = [way for way in ways if not _is_for_dense(way)]
    leave_out = len(own) < len(ways) and bool(own) and Opened(model).compressed
    return own if leave_out else ways


def _is_for_dense(way: str) -> bool:
    return way in DENSE_ONLY or is_file_way(way)


def _is_compressed(place: Path) -> bool:
    config = read_json(place / "config.json")
    quantization = config.get("quantization_config") if isinstance(config, dict) else None
    return isinstance(quantization, dict) and quantization.get("quant_method") == METHOD
