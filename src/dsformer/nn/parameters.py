"""Stored tensors of a compressed module: names, shapes and types."""

from typing import Self

import torch
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.precision import Precision, packed_bytes
from dsformer.format.spec import FormSpec
from dsformer.utils.tensor_cache import TensorCache

INTEGERS = {
    "support": torch.uint8,
    "permutation": torch.uint8,
    "dictionary_support": torch.uint8,
    "weight_scale": torch.int16,
    "dictionary_scale": torch.int16,
}
"""Tensors that are integers whatever the type of the values is, and their types."""


def parameter_of(module: nn.Module, name: str) -> Tensor | None:
    """Return a parameter, or the parametrization that replaces it.

    Layers ask at every call, and a module's attribute lookup takes longer than everything else.
    """
    own = module._parameters
    return own[name] if name in own else getattr(module, name)


class Unpacked:
    """What has been unpacked from stored tensors, each part cached until its sources change."""

    def __init__(self) -> None:
        self.entries: TensorCache[Tensor] = TensorCache()
        self.numbers: TensorCache[Form] = TensorCache()
        self.indices: TensorCache[Tensor] = TensorCache()
        self.order: TensorCache[Tensor] = TensorCache()
        self.ragged: TensorCache[tuple[Tensor, Tensor]] = TensorCache()


class StoredTensors(nn.Module):
    """The tensors of a form, named as they are stored.

    ``weight``
        the code values. Flat for a linear layer, (units, kept) for an embedding. Neither is the shape of the weight it
        replaces, so that a program without this package fails to load it instead of leaving the layer random. Quantized
        values are int8, with rows packed to bytes where they have fewer than 8 bits; so is the dictionary.
    ``support``
        uint8 bytes; absent when the support is empty, full or always the same.
    ``permutation``
        uint8 bytes; absent unless the spec is permuted.
    ``dictionary``
        absent without learned atoms, and in all but the first layer of a block (the *lead*). A sparse dictionary is
        stored as its entries, (atoms, entries of each).
    ``dictionary_support``
        uint8 bytes, for a sparse dictionary; absent when its support is always the same.
    ``weight_scale``, ``dictionary_scale``
        for quantized values and dictionary, those of ``QuantizedForm``: the bits of bfloat16 in int16, which no
        change of the model's type touches.

    Args:
        spec: of this module alone, not of the block.
        flat: whether ``weight`` is flat.
        lead: the module that holds the dictionary, the first of the block; None for that one itself.
        device, dtype: of the tensors, which are not initialized.
        precision: of quantized values and dictionary; ``dtype`` is then that of inputs and outputs. None: floats.

    Raises:
        InputError: the spec has no atoms at all.
    """

    weight: Tensor
    dictionary: Tensor | None
    weight_scale: Tensor | None
    dictionary_scale: Tensor | None
    dictionary_support: Tensor | None
    _typed: Tensor | None
    support: Tensor | None
    permutation: Tensor | None

    def __init__(
        self,
        spec: FormSpec,
        flat: bool,
        lead: Self | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        precision: Precision | None = None,
    ):
        super().__init__()
        if not spec.atoms and not spec.canonical:
            raise InputError(f"a form without atoms: {spec}")
        self.spec, self.precision = spec, precision
        self.inner = spec.inner
        # In a tuple, so that it is not registered: the lead's tensors must appear once in a state dict.
        self._lead = () if lead is None else (lead,)
        values = self._empty(*spec.code_shape, "codes", device, dtype)
        self._add("weight", values.view(-1) if flat else values)
        own = lead is None and spec.atoms
        shape = (spec.atoms, spec.dictionary_nonzeros) if spec.inner else spec.dictionary_shape
        self._add("dictionary", self._empty(*shape, "dictionary", device, dtype) if own else None)
        support = permutation = None
        if spec.encoding != "none":
            support = torch.empty(spec.support_bytes, dtype=torch.uint8, device=device)
        if spec.permuted:
            permutation = torch.empty(spec.permutation_bytes, dtype=torch.uint8, device=device)
        self.register_buffer("support", support)
        self.register_buffer("permutation", permutation)
        if own and spec.dictionary_support_bytes:
            packed = torch.empty(spec.dictionary_support_bytes, dtype=torch.uint8, device=device)
            self.register_buffer("dictionary_support", packed)
        else:
            self.dictionary_support = None
        self._add_scales(device, dtype)
        self._unpacked = Unpacked()

    def _empty(
        self, rows: int, columns: int, factor: str, device: torch.device | None, dtype: torch.dtype | None
    ) -> Tensor:
        if self.precision is None:
            return torch.empty(rows, columns, device=device, dtype=dtype)
        width = packed_bytes(columns, getattr(self.precision, factor))
        return torch.empty(rows, width, device=device, dtype=torch.int8)

    def _add(self, name: str, tensor: Tensor | None) -> None:
        """Register numbers: floating-point ones as a parameter, integers as a buffer.

        Integers cannot be trained, and many programs expect parameters to be floating-point.
        """
        if self.precision and tensor is not None:
            self.register_buffer(name, tensor)
        else:
            self.register_parameter(name, None if tensor is None else nn.Parameter(tensor))

    def _add_scales(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        counts: dict[str, int] = dict.fromkeys(("weight_scale", "dictionary_scale"), 0)
        if self.precision:
            counts["weight_scale"] = self.spec.code_scales(self.precision)
            counts["dictionary_scale"] = 0 if self.dictionary is None else self.spec.dictionary_scales(self.precision)
        for name, count in counts.items():
            # No buffers that are None: torch.export fails where one comes before a buffer that is not None.
            if count:
                self.register_buffer(name, torch.empty(count, dtype=torch.int16, device=device))
            else:
                setattr(self, name, None)
        # Integers have no floating-point type. This empty tensor has one, which follows the model's.
        if self.precision:
            self.register_buffer("_typed", torch.empty(0, device=device, dtype=dtype), persistent=False)
        else:
            self._typed = None

    @property
    def lead(self) -> Self:
        """Module that holds the dictionary."""
        return self._lead[0] if self._lead else self

    def _scales(self) -> tuple[Tensor | None, Tensor | None]:
        return self.weight_scale, self.dictionary_scale

    @property
    def is_int8(self) -> bool:
        """Whether products multiply int8 numbers.

        With several scales a row they multiply the numbers that the integers stand for.
        """
        return self.precision is not None and not self.precision.span and not self.dense

    @property
    def dense(self) -> bool:
        """Whether the codes are the weight itself with all its entries: the product is that of a dense layer."""
        return self.spec.whole

    @property
    def dtype(self) -> torch.dtype:
        """Type of inputs and outputs."""
        return self._typed.dtype if self._typed is not None else self.weight.dtype

    @property
    def sources(self) -> tuple[Tensor, ...]:
        """All tensors that determine the weight."""
        lead = self.lead
        tensors = [parameter_of(self, "weight"), parameter_of(lead, "dictionary")]
        tensors += [buffer for name, buffer in self._buffers.items() if name not in ("weight", "dictionary")]
        if lead is not self:
            tensors += [lead.dictionary_scale, lead.dictionary_support]
        return tuple([tensor for tensor in tensors if tensor is not None])
