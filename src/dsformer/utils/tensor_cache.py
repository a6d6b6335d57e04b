"""Values computed from tensors and kept until one of the tensors changes."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Fingerprint:
    """What a tensor looked like at one moment; ``matches`` says whether it still does.

    In-place changes are seen by the tensor's version counter, moves between devices and types by its storage. What
    PyTorch does not count goes unnoticed: writing through ``tensor.data``, and the steps of fused optimisers.
    """

    __slots__ = ("_address", "_dtype", "_reference", "_version")

    def __init__(self, tensor: Tensor, dropped: Callable[[object], None] | None = None):
        """``dropped`` is called when the tensor is freed."""
        self._reference = weakref.ref(tensor, dropped)
        self._version = tensor._version
        self._address = tensor.data_ptr()
        self._dtype = tensor.dtype

    def matches(self, tensor: Tensor) -> bool:
        return (
            self._reference() is tensor
            and self._version == tensor._version
            and self._address == tensor.data_ptr()
            and self._dtype == tensor.dtype
        )


def _unchanged(prints: tuple[Fingerprint, ...], tensors: tuple[Tensor, ...]) -> bool:
    return len(prints) == len(tensors) and all(map(Fingerprint.matches, prints, tensors))


class TensorCache(Generic[T]):
    """A value computed from tensors, computed again once one of them has changed.

    The cached entry is one tuple, replaced as a whole, so threads may share it. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._entry: tuple[tuple[Fingerprint, ...], T] | None = None

    def get(self, sources: tuple[Tensor, ...], build: Callable[[], T]) -> T:
        """The value of ``build()`` for these tensors.

        It is built without gradients and in the tensors' own types, whatever the modes of the moment: it outlives them.
        Tensors created in inference mode count no versions: nothing is kept of them.
        """
        entry = self._entry
        if entry is not None and _unchanged(entry[0], sources):
            return entry[1]
        if any(source.is_inference() for source in sources):
            return build()
        device = sources[0].device.type if sources else "cpu"
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
            value = build()
        self._entry = (tuple(Fingerprint(source) for source in sources), value)
        return value

    def clear(self) -> None:
        self._entry = None

    def __reduce__(self):
        return type(self), ()
