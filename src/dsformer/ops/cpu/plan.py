"""Packed block of the native kernels."""

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import byref, c_int, c_int64, c_void_p
from typing import Literal, NoReturn

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.quantized import QuantizedForm
from dsformer.ops.cpu.library import DTYPES, WEIGHTS, FormStruct, TuningStruct, address, library
from dsformer.ops.cpu.pages import LARGE, use_large_pages

Activation = Literal["none", "gelu", "gelu_tanh", "relu"]

_ACTIVATIONS = {"none": 0, "gelu": 1, "gelu_tanh": 2, "relu": 3}
# Outputs of fewer bytes than this in total are allocated separately.
APART = 1 << 20
_get_num_threads = torch.get_num_threads


class CpuPlan:
    """``activation(x W^T + bias)`` for the weight of a form, or of several stacked ones that share the input.

    A plan copies what it needs: later changes of the tensors do not reach it. Threads may share a plan.

    Args:
        values: (units, core + nonzeros), float32, bfloat16 or int8. The dictionary has the same type; if that is a
            floating-point one, so have x and the bias.
        indices: (groups, nonzeros), ascending.
        permutation: (units,) the unit that each code describes; None: code i describes unit i.
        dictionary: (atoms, in), or (out, atoms) with ``output_dictionary``; None without learned atoms.
        bias: (out_features,); None without.
        core: atoms that every unit uses.
        group: units that share one row of indices.
        canonical: unit vectors are among the candidates.
        output_dictionary: units are input columns, not output rows.
        out_features: of all members together.
        members: the out_features of stacked layers; None: there is one layer.
        in_features: needed only for an input dictionary without learned atoms, where no tensor's shape gives it.
        activation: applied after the bias.
        tuning: for measurements: ``panel_vectors``, ``small_tokens``, ``block_bytes``, ``unpaired`` of ``dsf_tuning``.
        scales: with int8 values, the scales of the dictionary's rows and of the values, as in ``QuantizedForm``.
        dtype: with int8 values, the type of x and the bias: float32 or bfloat16.

    Raises:
        InputError: there is no native library, or it rejects the form.
    """

    def __init__(
        self,
        values: Float[Tensor, "units kept"] | Int8[Tensor, "units kept"],
        indices: Int[Tensor, "groups nonzeros"],
        permutation: Int[Tensor, " units"] | None,
        dictionary: Float[Tensor, "rows columns"] | Int8[Tensor, "rows columns"] | None,
        bias: Float[Tensor, " out"] | None,
        core: int,
        group: int,
        canonical: bool,
        output_dictionary: bool,
        out_features: int,
        members: Sequence[int] | None = None,
        in_features: int | None = None,
        activation: Activation = "none",
        tuning: dict[str, int] | None = None,
        scales: tuple[Tensor, Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        loaded = library()
        if loaded is None:
            raise InputError("native library not found")
        self.dtype = dtype if values.dtype == torch.int8 else values.dtype
        self.members = tuple(members or (out_features,))
        if not output_dictionary and dictionary is not None:
            in_features = dictionary.shape[1]
        self.in_features = values.shape[0] if output_dictionary else in_features or 0
        self.out_features = out_features
        width = out_features if output_dictionary else self.in_features
        atoms = 0 if dictionary is None else dictionary.shape[1 if output_dictionary else 0]
        if dictionary is not None and dictionary.shape != ((width, atoms) if output_dictionary else (atoms, width)):
            raise InputError(f"native plan: a dictionary of shape {tuple(dictionary.shape)} does not fit")
        self._check(values, indices, permutation, dictionary, bias, core, group)
        tensors = [None if t is None else t.detach().contiguous() for t in (dictionary, values, bias)]
        integers = (
            indices.to(torch.int32).contiguous(),
            None if permutation is None else permutation.long().contiguous(),
        )
        positions = atoms + (width if canonical else 0)
        rows = (width if atoms else 0, positions) if output_dictionary else (atoms, values.shape[0])
        floats = [] if scales is None else [scale.detach().float().contiguous() for scale in scales]
        if [scale.shape for scale in floats] != [(count,) for count in rows if values.dtype == torch.int8]:
            raise InputError(f"native plan: {rows} scales for int8 values, none for others")
        sizes = (c_int64 * len(self.members))(*self.members)
        form = FormStruct(
            ctypes.sizeof(FormStruct),
            int(output_dictionary),
            DTYPES[self.dtype],
            WEIGHTS[values.dtype],
            _ACTIVATIONS[activation],
            values.shape[0],
            width,
            atoms,
            core,
            indices.shape[1],
            group,
            out_features,
            int(canonical),
            len(self.members),
            sizes,
            *map(address, (tensors[0], tensors[1], integers[0], integers[1], tensors[2], *floats)),
        )
        error = c_int()
        self._handle = loaded.dsf_plan_create(byref(form), byref(TuningStruct(**(tuning or {}))), byref(error))
        if not self._handle:
            raise InputError(f"native plan: {loaded.dsf_error_string(error.value).decode()}")
        self._run = loaded.dsf_plan_run
        self._pointers = c_void_p * len(self.members)
        self._strides = sizes
        self._token_bytes = self.out_features * self.dtype.itemsize
        weakref.finalize(self, loaded.dsf_plan_free, self._handle)

    @classmethod
    def of(
        cls,
        form: Form | QuantizedForm,
        bias: Float[Tensor, " out"] | None = None,
        members: Sequence[int] | None = None,
        activation: Activation = "none",
        tuning: dict[str, int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "CpuPlan":
        """Make the plan of a form.

        Args:
            form: gives the arguments of the constructor that are not named here.
            bias: as for the constructor.
            members: as for the constructor.
            activation: as for the constructor.
            tuning: as for the constructor.
            dtype: as for the constructor.

        Raises:
            InputError: as for the constructor.
        """
        spec = form.spec
        return cls(
            form.values,
            form.indices,
            form.permutation,
            form.dictionary if spec.atoms else None,
            bias,
            spec.core,
            spec.pattern.group,
            spec.canonical,
            spec.orientation == "output",
            spec.out_features,
            members,
            spec.in_features,
            activation,
            tuning,
            (form.dictionary_scales, form.value_scales) if isinstance(form, QuantizedForm) else None,
            dtype,
        )

    def __call__(self, x: Float[Tensor, "*batch in"], out: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Compute one tensor (..., out_features) for every member.

        Args:
            x: the input, of the plan's type and on the CPU.
            out: contiguous tensors to write to, one for each member; None: new ones.

        Raises:
            InputError: ``x`` or ``out`` has another shape, type or device.
            MemoryError: there is not enough memory.
        """
        shape = x.shape
        if shape[-1] != self.in_features or x.dtype is not self.dtype or not x.is_cpu:
            raise InputError(f"input: {tuple(shape)} {x.dtype}, not (..., {self.in_features}) {self.dtype}")
        leading = shape[:-1]
        if x.is_contiguous():
            tokens, stride = leading.numel(), shape[-1]
        else:
            x = x.reshape(-1, shape[-1])
            if x.stride(1) != 1:
                x = x.contiguous()
            tokens, stride = x.shape[0], x.stride(0)
        if out is None:
            ys = self._empty(tokens, leading)
        else:
            ys = self._checked(out, leading)
        pointers = self._pointers(*[y.data_ptr() for y in ys])
        error = self._run(self._handle, x.data_ptr(), tokens, stride, pointers, self._strides, _get_num_threads())
        if error:
            raise MemoryError("native plan: out of memory")
        return ys

    def tuning(self) -> dict[str, int]:
        """Return the tuning in use."""
        chosen = library().dsf_plan_tuning(self._handle)  # type: ignore[union-attr]
        return {name: getattr(chosen, name) for name, _ in TuningStruct._fields_}

    def nbytes(self) -> int:
        """Return the bytes of memory that the plan holds."""
        return library().dsf_plan_bytes(self._handle)  # type: ignore[union-attr]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CpuPlan belongs to its process: copy the tensors and make another")

    def _empty(self, tokens: int, leading: torch.Size) -> list[Tensor]:
        total = tokens * self._token_bytes
        if total < APART or len(self.members) == 1:
            ys = [torch.empty((*leading, size), dtype=self.dtype) for size in self.members]
        else:
            # When several large tensors are freed, glibc returns their memory to the system, and the next call has to
            # ask for it page by page. glibc keeps the memory of a single tensor.
            parts = torch.empty(tokens * self.out_features, dtype=self.dtype).split(
                [tokens * size for size in self.members]
            )
            ys = [part.view(*leading, size) for part, size in zip(parts, self.members, strict=True)]
        if total >= LARGE:
            for y in ys:
                use_large_pages(y)
        return ys

    def _checked(self, out: Sequence[Tensor], leading: torch.Size) -> list[Tensor]:
        for y, size in zip(out, self.members, strict=True):
            if y.shape != (*leading, size) or y.dtype is not self.dtype or not y.is_contiguous():
                raise InputError(
                    f"output: {tuple(y.shape)} {y.dtype} is not a contiguous {(*leading, size)} {self.dtype}"
                )
        return list(out)

    def _check(self, values, indices, permutation, dictionary, bias, core: int, group: int) -> None:
        """Check what the library cannot see: that the tensors have the sizes that it is given."""
        units = values.shape[0]
        if self.dtype not in DTYPES:
            raise InputError(f"native plan: {self.dtype} is neither float32 nor bfloat16")
        numbers = [(values, values.dtype), (dictionary, values.dtype), (bias, self.dtype)]
        if any(t is not None and (t.dtype is not dtype or t.device.type != "cpu") for t, dtype in numbers):
            raise InputError(f"native plan: weights must be {values.dtype} and the bias {self.dtype}, on the CPU")
        fits = group > 0 and units == indices.shape[0] * group and values.shape[1] == core + indices.shape[1]
        fits = fits and (bias is None or bias.shape == (self.out_features,))
        fits = fits and (permutation is None or permutation.shape == (units,))
        if not fits:
            raise InputError("native plan: the tensors' shapes contradict each other")
