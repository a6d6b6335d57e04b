"""Cache of values computed from tensors, which are recomputed when a tensor changes."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Fingerprint:
    """State of a tensor at one moment; :meth:`matches` says whether it has changed.

    In-place changes show in the tensor's version counter, moves between devices and types in its storage. Limit:
    changes that PyTorch does not count are not noticed, which are writes through ``tensor.data`` and the steps of fused
    optimizers.
    """

    __slots__ = ("_address", "_dtype", "_reference", "_version")

    def __init__(self, tensor: Tensor, dropped: Callable[[object], None] | None = None):
        """Record the state of ``tensor``, and call ``dropped`` when the tensor is freed."""
        self._reference = weakref.ref(tensor, dropped)
        self._version = tensor._version
        self._address = tensor.data_ptr()
        self._dtype = tensor.dtype

    def matches(self, tensor: Tensor) -> bool:
        """Return whether ``tensor`` is the same, unchanged tensor."""
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

    The entry is one tuple that is replaced as a whole, so that threads may share the cache. Copies and pickles start
    empty.
    """

    def __init__(self) -> None:
        self._entry: tuple[tuple[Fingerprint, ...], T] | None = None

    def get(self, sources: tuple[Tensor, ...], build: Callable[[], T]) -> T:
        """Return the value of ``build()`` for these tensors, cached or computed now.

        It is built without gradients, outside inference mode and without autocast, because it outlives the modes of the
        caller. Limit: tensors created in inference mode have no version counter, and nothing is cached for them.
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
        """Drop the cached value."""
        self._entry = None

    def __reduce__(self):
        return type(self), ()
