"""Dropout switched off while a compressed model is trained."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def disable_dropout(model: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Set every dropout rate to 0, and restore the rates on leaving; do nothing if not ``wanted``.

    A compressed model follows a dense one without dropout, and has little capacity to overfit. (MiniLM at 3.57x, 160
    steps: on STS-B 81.9 before, 81.9 without dropout and 80.5 with it; on Banking77 90.8, 92.0 and 91.5.)
    """
    found = [(module, name, rate) for module in model.modules() for name, rate in _rates(module)] if wanted else []
    for module, name, _ in found:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in found:
            setattr(module, name, rate)


def _rates(module: nn.Module) -> Iterator[tuple[str, float]]:
    """Yield the rates of a dropout layer, or of a module that calls ``functional.dropout``, by attribute name."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        yield "p", module.p
        return
    for name, value in vars(module).items():
        if "drop" in name and isinstance(value, float):
            yield name, value
