"""Embedding rows read by the native kernels."""

import ctypes
from ctypes import byref

import torch
from jaxtyping import Float, Int, Int8, UInt8
from torch import Tensor

from dsformer.errors import InputError
from dsformer.format.spec import FormSpec
from dsformer.ops.cpu.library import DTYPES, WEIGHTS, TableStruct, address, library


class CpuTable:
    """The rows of a table stored as codes of an input dictionary, which are mixed when they are read.

    Nothing is unpacked or copied: the tensors are read where they are, so that later changes take effect. They must not
    be moved or resized.

    Args:
        spec: units are rows.
        values: (units, core + nonzeros), float32, bfloat16 or int8; the dictionary has the same type.
        dictionary: (atoms, width); None without learned atoms.
        support: the stored bytes; None where the support is empty or full.
        code_of: (units,) the code that describes each row; None: code i describes row i.
        scales: with int8 values, those of the dictionary's atoms (None without atoms) and of the units, as the bits of
            bfloat16 in int16.
        dtype: with int8 values, the type of rows: float32 or bfloat16.

    Raises:
        InputError: there is no native library, or the tensors do not fit each other.
    """

    def __init__(
        self,
        spec: FormSpec,
        values: Float[Tensor, "units kept"] | Int8[Tensor, "units kept"],
        dictionary: Float[Tensor, "atoms width"] | Int8[Tensor, "atoms width"] | None,
        support: UInt8[Tensor, " bytes"] | None,
        code_of: Int[Tensor, " units"] | None = None,
        scales: tuple[Tensor | None, Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        loaded = library()
        if loaded is None:
            raise InputError("native library not found")
        self.dtype = dtype if values.dtype == torch.int8 else values.dtype
        self.width, self.units = spec.width, spec.units
        of_atoms, of_units = scales or (None, None)
        given = [
            (values, values.dtype, (spec.units, spec.core + spec.nonzeros)),
            (dictionary, values.dtype, (spec.atoms, spec.width)),
            (support, torch.uint8, (spec.support_bytes,)),
            (code_of, torch.int64, (spec.units,)),
            (of_atoms, torch.int16, (spec.atoms,)),
            (of_units, torch.int16, (spec.units,)),
        ]
        for tensor, wanted, shape in given:
            if tensor is not None and (tensor.dtype is not wanted or tensor.shape != shape or not _plain(tensor)):
                raise InputError(f"native table: {tuple(tensor.shape)} {tensor.dtype}, not {shape} {wanted} on the CPU")
        missing = (spec.atoms and dictionary is None) or (spec.encoding != "none" and support is None)
        if self.dtype not in DTYPES or missing or spec.orientation != "input":
            raise InputError(f"native table: the kernels cannot read tensors of {spec} in {self.dtype}")
        indexed = spec.encoding == "index"
        self._struct = TableStruct(
            ctypes.sizeof(TableStruct),
            DTYPES[self.dtype],
            WEIGHTS[values.dtype],
            spec.canonical,
            spec.units,
            spec.width,
            spec.atoms,
            spec.core,
            spec.nonzeros,
            spec.pattern.group,
            spec.pattern.metadata_bits(spec.candidates, spec.nonzeros) // spec.nonzeros if indexed else 0,
            spec.pattern.n if indexed else 0,
            spec.candidates // spec.pattern.m if spec.pattern.m else 0,
            spec.support_bytes,
            *(address(tensor) for tensor in (dictionary, values, support, code_of, of_atoms, of_units)),
        )
        # Keeps the tensors alive as long as their addresses are used.
        self._tensors = [tensor for tensor, _, _ in given]
        self._library, self._read = loaded, loaded.dsf_table_read

    def __call__(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        """Look up rows.

        Raises:
            IndexError: a row does not exist, as for a lookup in torch.
            MemoryError: there is not enough memory.
        """
        flat = ids.to(torch.int64).contiguous()
        rows = torch.empty((*ids.shape, self.width), dtype=self.dtype)
        threads = torch.get_num_threads()
        error = self._read(byref(self._struct), flat.data_ptr(), flat.numel(), rows.data_ptr(), threads)
        if error:
            message = self._library.dsf_error_string(error).decode()
            if flat.numel() and (flat.min() < 0 or flat.max() >= self.units):
                raise IndexError(f"index out of range: rows of this table are 0 to {self.units - 1}")
            raise MemoryError(f"native table: {message}")
        return rows


def _plain(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.is_contiguous()
