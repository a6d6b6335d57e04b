"""Models opened for benchmarks, and the ways to run one: eager, bfloat16, compiled, ONNX Runtime, OpenVINO."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.benchmarking import runtimes
from dsformer.errors import InputError
from dsformer.models.casting import cast_model
from dsformer.models.checkpoint import read_json, weight_bytes
from dsformer.models.config import METHOD
from dsformer.models.inputs import has_decoder_input
from dsformer.models.load import load
from dsformer.models.pretrained import load_tokenizer
from dsformer.models.source import open_source, resolve_model

Batch = Mapping[str, Tensor]
Call = Callable[..., Any]
# Limit of compiled graphs of one function.
COMPILATIONS = 512


def _eager(model: nn.Module, tokenizer: Any) -> Call:
    return model


def _bfloat16(model: nn.Module, tokenizer: Any) -> nn.Module:
    cast_model(model, torch.bfloat16)
    return model


def _compiled(model: nn.Module, tokenizer: Any) -> Call:
    # Contenders of one class share its code, and each is compiled for every size.
    torch._dynamo.config.cache_size_limit = COMPILATIONS
    torch._dynamo.config.accumulated_cache_size_limit = COMPILATIONS
    return torch.compile(model, dynamic=False)


def _foreign(run: Callable[[runtimes.Exported], Call]) -> Callable[[nn.Module, Any], Call]:
    return lambda model, tokenizer: run(runtimes.Exported(model, tokenizer))


FOREIGN: dict[str, Callable[[nn.Module, Any], Call]] = {
    "onnx": _foreign(runtimes.onnx),
    "onnx-int8": _foreign(runtimes.onnx_int8),
    "openvino": _foreign(runtimes.openvino),
    "openvino-int8": _foreign(runtimes.openvino_int8),
}
"""Engines other than PyTorch: they run dense models only."""

WAYS: dict[str, Callable[[nn.Module, Any], Call]] = {
    "eager": _eager,
    "bf16": _bfloat16,
    "compile": _compiled,
    "compile-bf16": lambda model, tokenizer: _compiled(_bfloat16(model, tokenizer), tokenizer),
    **FOREIGN,
}
"""Ways to run a model, by name: as it was saved, converted to bfloat16, through ``torch.compile``, in other engines."""


@dataclass(frozen=True)
class Contender:
    """A model that is ready to run.

    Attributes:
        name: the model as given, and the way it runs.
        tokenizer: of the model.
        call: the forward pass.
        decodes: it has a decoder, which gets the same text.
        disk_bytes: of its weight files.
        memory_bytes: of parameters and buffers, or the file of another engine; without the packed weights of kernels.
        load_seconds: from the directory to a model that can run, export and conversion included.
    """

    name: str
    tokenizer: Any
    call: Callable[..., Any]
    decodes: bool
    disk_bytes: int
    memory_bytes: int
    load_seconds: float

    def run(self, batch: Batch) -> None:
        """Run one forward pass, without gradients."""
        with torch.no_grad():
            self.call(**batch)

    def seconds(self, batch: Batch) -> float:
        """Time one forward pass, in seconds."""
        started = perf_counter()
        self.run(batch)
        return perf_counter() - started


def open_contender(model: str | Path, way: str = "eager") -> Contender:
    """Open a model directory, compressed or dense, or a hub name, to run in one of ``WAYS``.

    Raises:
        InputError: there is no such model or way, or the way cannot run a compressed model.
    """
    if way not in WAYS:
        raise InputError(f"way {way!r} is not one of {', '.join(WAYS)}")
    started = perf_counter()
    place = resolve_model(model)
    compressed = _compressed(place)
    if way in FOREIGN and compressed:
        raise InputError(f"{model}: way {way} runs dense models only; write one with dsformer densify")
    network = load(place) if compressed else open_source(model).model.eval()
    tokenizer = load_tokenizer(place)
    call = WAYS[way](network, tokenizer)
    took = perf_counter() - started
    stored = [*network.parameters(), *network.buffers()]
    disk, memory = weight_bytes(place), sum(tensor.nbytes for tensor in {id(one): one for one in stored}.values())
    if isinstance(call, runtimes.Sessions):
        disk = memory = call.nbytes
    return Contender(f"{model} {way}", tokenizer, call, has_decoder_input(network), disk, memory, took)


def open_contenders(models: Sequence[str | Path], ways: Sequence[str]) -> list[Contender]:
    """Open every model in every way that can run it.

    Raises:
        InputError: there is no such model or way, or no way can run a model.
    """
    return [open_contender(model, way) for model in models for way in _possible(model, ways)]


def _possible(model: str | Path, ways: Sequence[str]) -> Sequence[str]:
    own = [way for way in ways if way not in FOREIGN]
    # If no other way remains, opening the model raises the error that explains it.
    leave_out = len(own) < len(ways) and bool(own) and _compressed(resolve_model(model))
    return own if leave_out else ways


def _compressed(place: Path) -> bool:
    config = read_json(place / "config.json")
    quantization = config.get("quantization_config") if isinstance(config, dict) else None
    return isinstance(quantization, dict) and quantization.get("quant_method") == METHOD
