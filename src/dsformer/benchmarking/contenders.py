"""Models ready to run, and the ways of running one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from dsformer.errors import InputError
from dsformer.huggingface.checkpoint import read_json, weight_bytes
from dsformer.huggingface.config import METHOD
from dsformer.huggingface.source import model_place, open_source
from dsformer.loading import load

Batch = Mapping[str, Tensor]


def _eager(model: nn.Module) -> Callable[..., Any]:
    return model


def _bfloat16(model: nn.Module) -> Callable[..., Any]:
    # Of nn.Module: transformers refuses to convert models it knows as quantized.
    return nn.Module.to(model, torch.bfloat16)


def _compiled(model: nn.Module) -> Callable[..., Any]:
    return torch.compile(model, dynamic=False)


WAYS: dict[str, Callable[[nn.Module], Callable[..., Any]]] = {
    "eager": _eager,
    "bf16": _bfloat16,
    "compile": _compiled,
}
"""Ways to run a model, by name: as it was saved, converted to bfloat16, through ``torch.compile``."""


@dataclass(frozen=True)
class Contender:
    """A model ready to run.

    Attributes:
        name: what was asked for, and the way it runs.
        tokenizer: of the model.
        call: the forward pass.
        disk_bytes: of its weight files.
        memory_bytes: parameters and buffers; what native kernels packed comes on top.
        load_seconds: from the directory to a model that can run.
    """

    name: str
    tokenizer: Any
    call: Callable[..., Any]
    disk_bytes: int
    memory_bytes: int
    load_seconds: float

    def run(self, batch: Batch) -> None:
        """One forward pass, without gradients."""
        with torch.no_grad():
            self.call(**batch)

    def seconds(self, batch: Batch) -> float:
        """Of one forward pass."""
        started = perf_counter()
        self.run(batch)
        return perf_counter() - started


def open_contender(model: str | Path, way: str = "eager") -> Contender:
    """Open a model directory, compressed or dense, or a hub name, to be run in one of ``WAYS``.

    Raises:
        InputError: there is no such model or way.
    """
    if way not in WAYS:
        raise InputError(f"way {way!r} is not one of {', '.join(WAYS)}")
    started = perf_counter()
    place = model_place(model)
    network = load(place) if _compressed(place) else open_source(model).model.eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    took = perf_counter() - started
    call = WAYS[way](network)
    stored = [*network.parameters(), *network.buffers()]
    return Contender(
        name=f"{model} {way}",
        tokenizer=tokenizer,
        call=call,
        disk_bytes=weight_bytes(place),
        memory_bytes=sum(tensor.nbytes for tensor in {id(one): one for one in stored}.values()),
        load_seconds=took,
    )


def _compressed(place: Path) -> bool:
    quantization = read_json(place / "config.json").get("quantization_config") or {}
    return quantization.get("quant_method") == METHOD
