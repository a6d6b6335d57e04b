"""One product with a shared dictionary for all the layers of a block that read the same input."""

import weakref

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from dsformer.layers.derived import Fingerprint


class SharedProduct:
    """Remembers ``D x`` of the last input until every member of the block has used it once.

    The remembered product serves only the same input tensor, unchanged, with the same unchanged dictionary and under
    the same gradient and autocast modes. Each member may take it once: a second request starts over, so that running
    a layer again (as gradient checkpointing does) never meets a half-used product. It is dropped when the last member
    took it or when the input is freed. The entry is one tuple, replaced as a whole: threads sharing the block at worst
    compute a product twice. Copies and pickles start empty.
    """

    def __init__(self, members: int):
        self.members = members
        self._entry: tuple[_Key, Tensor, int] | None = None

    def get(
        self, x: Float[Tensor, "*batch in"], dictionary: Float[Tensor, "atoms in"], member: int
    ) -> Float[Tensor, "*batch atoms"]:
        """``D x``, remembered or computed; ``member`` counts from 0."""
        if self.members == 1:
            return linear(x, dictionary)
        entry = self._entry
        if entry is not None and not entry[2] >> member & 1 and entry[0].matches(x, dictionary):
            key, product, used = entry
        else:
            product, used = linear(x, dictionary), 0
            if dictionary.is_inference():
                return product
            key = _Key(x, dictionary, self)
        used |= 1 << member
        self._entry = None if used == (1 << self.members) - 1 else (key, product, used)
        return product

    def _forget(self, key: "_Key") -> None:
        entry = self._entry
        if entry is not None and entry[0] is key:
            self._entry = None

    def __reduce__(self):
        return type(self), (self.members,)


class _Key:
    """The input, dictionary and modes a product was computed under."""

    def __init__(self, x: Tensor, dictionary: Tensor, owner: SharedProduct):
        self._mode = _mode(x)
        self._dictionary = Fingerprint(dictionary)
        self._x: Fingerprint | None = None
        if x.is_inference():
            # No version is counted in inference mode, so a change can only be seen by comparing the numbers.
            self._reference, self._copy = weakref.ref(x, self._dropper(owner)), x.clone()
        else:
            self._x = Fingerprint(x, self._dropper(owner))

    def _dropper(self, owner: SharedProduct):
        weak_owner, weak_key = weakref.ref(owner), weakref.ref(self)

        def drop(_: object) -> None:
            alive, key = weak_owner(), weak_key()
            if alive is not None and key is not None:
                alive._forget(key)

        return drop

    def matches(self, x: Tensor, dictionary: Tensor) -> bool:
        if self._mode != _mode(x) or not self._dictionary.matches(dictionary):
            return False
        if self._x is not None:
            return not x.is_inference() and self._x.matches(x)
        return self._reference() is x and torch.equal(self._copy, x)


def _mode(x: Tensor) -> tuple[bool, bool, torch.dtype | None]:
    device = x.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast
