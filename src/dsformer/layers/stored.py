"""The tensors of a form inside a module, under the names they have in a checkpoint."""

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor, nn

from dsformer.errors import InputError
from dsformer.factorization.entries import kept_entries
from dsformer.factorization.form import Form
from dsformer.factorization.precision import Precision, packed_bytes
from dsformer.factorization.rounding import RoundedForm
from dsformer.factorization.spec import FormSpec
from dsformer.layers.derived import Derived
from dsformer.layers.numbers import pack_numbers, unpack_numbers
from dsformer.layers.packing import (
    check_permutation,
    pack_permutation,
    pack_support,
    unpack_permutation,
    unpack_support,
)
from dsformer.layers.uneven import pack_uneven, spread, stored_cells, unpack_uneven
from dsformer.layers.unpacking import traceable_indices, traceable_uneven


def parameter_of(module: nn.Module, name: str) -> Tensor | None:
    """A parameter, or what has taken its place (a parametrization).

    Layers ask at every call, and a module's own look-up of attributes takes longer than all the rest.
    """
    own = module._parameters
    return own[name] if name in own else getattr(module, name)


class StoredForm(nn.Module):
    """The tensors of a form, named as they are stored.

    ``weight``
        the code values. Flat for a linear layer, (units, kept) for an embedding: either way not the shape of the weight
        it replaces, so that a program without this package fails to load it instead of leaving the layer random.
        Rounded values are int8, rows packed to bytes where they have fewer than 8 bits; so is the dictionary.
    ``support``
        uint8 bytes, absent when the support is empty or full.
    ``permutation``
        uint8 bytes, absent unless the spec is permuted.
    ``dictionary``
        absent without learned atoms, and in all but the first layer of a block (the *lead*). Of a sparse one only its
        entries, (atoms, entries of each).
    ``dictionary_support``
        uint8 bytes, of a sparse dictionary.
    ``weight_scale``, ``dictionary_scale``
        with rounded values and dictionary, those of ``RoundedForm``: bfloat16 bits as int16, which no change of type
        touches.

    Args:
        spec: of this module alone, not of the block.
        flat: ``weight`` is.
        lead: the module that holds the dictionary, the first of the block; None for that one itself.
        device, dtype: of the tensors, uninitialised.
        precision: of rounded values and dictionary; ``dtype`` is then that of inputs and outputs. None: they are not.

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
        lead: "StoredForm | None" = None,
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
        if own and spec.inner:
            packed = torch.empty(spec.dictionary_support_bytes, dtype=torch.uint8, device=device)
            self.register_buffer("dictionary_support", packed)
        else:
            self.dictionary_support = None
        self._add_scales(device, dtype)
        self._entries: Derived[Tensor] = Derived()
        self._numbers: Derived[Form] = Derived()
        self._indices: Derived[Tensor] = Derived()
        self._order: Derived[Tensor] = Derived()
        self._filled: Derived[tuple[Tensor, Tensor]] = Derived()

    def _empty(
        self, rows: int, columns: int, factor: str, device: torch.device | None, dtype: torch.dtype | None
    ) -> Tensor:
        if self.precision is None:
            return torch.empty(rows, columns, device=device, dtype=dtype)
        width = packed_bytes(columns, getattr(self.precision, factor))
        return torch.empty(rows, width, device=device, dtype=torch.int8)

    def _add(self, name: str, tensor: Tensor | None) -> None:
        """Numbers that can be trained; bytes cannot, and many programs take parameters for what they are not."""
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
            # Buffers that are None before others that are not: torch.export trips over them.
            if count:
                self.register_buffer(name, torch.empty(count, dtype=torch.int16, device=device))
            else:
                setattr(self, name, None)
        # Bytes have no floating-point type; this has, and follows the model's.
        if self.precision:
            self.register_buffer("_typed", torch.empty(0, device=device, dtype=dtype), persistent=False)
        else:
            self._typed = None

    def _scales(self) -> tuple[Tensor | None, Tensor | None]:
        return self.weight_scale, self.dictionary_scale

    @property
    def in_bytes(self) -> bool:
        """Whether products are of whole numbers. With several scales a row they are of the numbers stood for."""
        return self.precision is not None and not self.precision.span and not self.dense

    @property
    def dense(self) -> bool:
        """Whether it is the weight itself, all its entries: then products are those of a dense layer."""
        return self.spec.whole

    @property
    def dtype(self) -> torch.dtype:
        """The type of inputs and outputs."""
        return self._typed.dtype if self._typed is not None else self.weight.dtype

    @property
    def shared_dictionary(self) -> Tensor | None:
        """The dictionary, which the first module of the block holds."""
        if self.precision:
            return self._as_floats().dictionary if self.spec.atoms else None
        owner = self._lead[0] if self._lead else self
        # Written out anew: an optimizer may have changed it without a sign.
        return owner.dictionary if owner.inner is None or owner.dictionary is None else owner._with_zeros()

    def _with_zeros(self) -> Float[Tensor, "atoms width"]:
        """A sparse dictionary written out."""
        assert self.dictionary is not None
        whole = self.dictionary.new_zeros(self.spec.dictionary_shape)
        return whole.scatter(1, self.entries().long(), self.dictionary)

    def entries(self) -> Int[Tensor, "atoms kept"]:
        """Which entries of a sparse dictionary are stored here, int32."""
        inner, support = self.inner, self.dictionary_support
        assert inner is not None
        assert support is not None
        if torch.compiler.is_compiling():
            return traceable_indices(inner, support, support.device)
        return self._entries.get((support,), lambda: unpack_support(inner, support).to(support.device))

    @property
    def values(self) -> Float[Tensor, "units kept"]:
        """The code values, in the type of outputs."""
        return self._as_floats().values if self.precision else self._values()

    def _values(self) -> Tensor:
        if self.spec.uneven:
            return spread(self.spec, self.weight, self._uneven()[1])
        return self.weight.view(self.spec.units, self.spec.core + self.spec.nonzeros)

    def _uneven(self) -> tuple[Int[Tensor, "units nonzeros"], Int[Tensor, " entries"]]:
        """The candidates of uneven codes and the places of their values among them."""
        support = self.support
        assert support is not None
        if torch.compiler.is_compiling():
            return traceable_uneven(self.spec, support)
        return self._filled.get((support,), lambda: self._unpacked_uneven())

    def _unpacked_uneven(self) -> tuple[Int[Tensor, "units nonzeros"], Int[Tensor, " entries"]]:
        indices, slots = unpack_uneven(self.spec, self.support)
        return indices.to(self.weight.device), slots.to(self.weight.device)

    def _as_floats(self) -> Form:
        if torch.compiler.is_compiling():
            return self.rounded_form(self.indices).form(self.dtype)
        return self._numbers.get(self.sources, lambda: self.rounded_form(self.unpacked()).form(self.dtype))

    def rounded_form(self, indices: Int[Tensor, "groups nonzeros"]) -> RoundedForm:
        """What is stored in whole numbers, given the support; int8 ones share memory with the module."""
        assert self.precision is not None
        lead = self._lead[0] if self._lead else self
        values, dictionary = self.whole_numbers()
        of_atoms, of_codes = (
            torch.empty(0, dtype=torch.bfloat16) if scale is None else scale.view(torch.bfloat16)
            for scale in (lead.dictionary_scale, self.weight_scale)
        )
        return RoundedForm(
            self.spec, dictionary, values, indices, self._unpacked_order(), of_atoms, of_codes, self.precision
        )

    def whole_numbers(self) -> tuple[Int8[Tensor, "units kept"], Int8[Tensor, "rows columns"]]:
        """Rounded values and dictionary; those of 8 bits share memory with the module."""
        assert self.precision is not None
        spec, lead = self.spec, self._lead[0] if self._lead else self
        rows, columns = spec.dictionary_shape
        dictionary = self.weight.new_zeros((rows, columns))
        if lead.dictionary is not None and self.inner:
            kept = _unpacked(lead.dictionary.detach(), rows, spec.dictionary_nonzeros, self.precision.dictionary)
            dictionary.scatter_(1, lead.entries().long(), kept)
        elif lead.dictionary is not None:
            dictionary = _unpacked(lead.dictionary.detach(), rows, columns, self.precision.dictionary)
        values = _unpacked(self.weight.detach(), *spec.code_shape, self.precision.codes)
        if spec.uneven:
            values = spread(spec, values[0], self._uneven()[1])
        return values, dictionary

    def _unpacked_order(self) -> Int[Tensor, " units"] | None:
        return None if self.permutation is None else unpack_permutation(self.spec, self.permutation)

    @property
    def indices(self) -> Int[Tensor, "groups nonzeros"]:
        """The selected candidates, int32, unpacked when first needed. Raises ArtefactError for a damaged support."""
        if self.spec.uneven:
            return self._uneven()[0]
        if torch.compiler.is_compiling():
            return traceable_indices(self.spec, self.support, self.weight.device)
        sources = () if self.support is None else (self.support,)
        return self._indices.get(sources, self.unpacked).to(self.weight.device)

    def unpacked(self) -> Int[Tensor, "groups nonzeros"]:
        """The indices, unpacked now and not kept."""
        if self.spec.uneven:
            return self._unpacked_uneven()[0]
        return unpack_support(self.spec, self.support).to(self.weight.device)

    @property
    def order(self) -> Int[Tensor, " units"] | None:
        """Which unit each code belongs to, unpacked when first needed; None: its own."""
        permutation = self.permutation
        if permutation is None or torch.compiler.is_compiling():
            return None if permutation is None else unpack_permutation(self.spec, permutation)
        return self._order.get((permutation,), lambda: unpack_permutation(self.spec, permutation))

    @property
    def sources(self) -> tuple[Tensor, ...]:
        """All tensors the weight is made of."""
        lead = self._lead[0] if self._lead else self
        tensors = [parameter_of(self, "weight"), parameter_of(lead, "dictionary")]
        tensors += [buffer for name, buffer in self._buffers.items() if name not in ("weight", "dictionary")]
        if lead is not self:
            tensors += [lead.dictionary_scale, lead.dictionary_support]
        return tuple([tensor for tensor in tensors if tensor is not None])

    def validate(self) -> None:
        """Raises ArtefactError when the support or the permutation stored is not one of this spec."""
        self.unpacked()
        if self.inner and self.dictionary_support is not None:
            unpack_support(self.inner, self.dictionary_support)
        if self.permutation is not None:
            check_permutation(self.spec, self.permutation)

    @torch.no_grad()
    def fill(self, form: Form | RoundedForm) -> None:
        """Take over a form's numbers, cast to the type of this module.

        Raises:
            InputError: the form has another spec, or is not of the kind stored here.
        """
        if form.spec != self.spec or (form.permutation is None) == self.spec.permuted:
            raise InputError(f"the form of {form.spec} does not fit a layer of {self.spec}")
        precision = form.precision if isinstance(form, RoundedForm) else None
        if precision != self.precision:
            raise InputError(f"a form with numbers of {precision} does not fit a layer of {self.precision}")
        values, dictionary = form.values, form.dictionary
        if self.inner and self.dictionary_support is not None:
            entries = kept_entries(dictionary, self.spec.dictionary_nonzeros)
            dictionary = dictionary.gather(1, entries)
            self.dictionary_support.copy_(pack_support(self.inner, entries))
        if self.spec.uneven:
            cells = stored_cells(self.spec, values)
            packed, values = pack_uneven(self.spec, form.indices, cells), values[cells][None]
        else:
            packed = pack_support(self.spec, form.indices)
        if isinstance(form, RoundedForm):
            values = _packed(values, form.precision.codes)
            dictionary = _packed(dictionary, form.precision.dictionary)
        self.weight.copy_(values.reshape(self.weight.shape))
        if self.dictionary is not None:
            self.dictionary.copy_(dictionary)
        if isinstance(form, RoundedForm):
            for mine, scales in zip(self._scales(), (form.value_scales, form.dictionary_scales), strict=True):
                if mine is not None:
                    mine.copy_(scales.view(torch.int16))
        if self.support is not None:
            self.support.copy_(packed)
        if self.permutation is not None and form.permutation is not None:
            self.permutation.copy_(pack_permutation(form.spec, form.permutation))

    @torch.no_grad()
    def form(self) -> Form:
        """The form stored here; values and dictionary share memory with the module, unless they are rounded."""
        if self.precision:
            return self.rounded_form(self.unpacked().long()).form(self.dtype)
        spec, dictionary = self.spec, self.shared_dictionary
        stored = self.weight.new_empty(spec.dictionary_shape) if dictionary is None else dictionary.detach()
        return Form(spec, stored, self.values.detach(), self.unpacked().long(), self._unpacked_order())

    def form_repr(self) -> str:
        spec = self.spec
        parts = [f"{spec.orientation} dictionary", f"atoms={spec.atoms}", f"core={spec.core}"]
        parts += [f"nonzeros={spec.mean_nonzeros:g}", f"pattern={spec.pattern}"]
        return ", ".join(
            parts
            + ["canonical"] * spec.canonical
            + ["permuted"] * spec.permuted
            + [str(self.precision)] * bool(self.precision)
        )


def _packed(numbers: Tensor, bits: int) -> Tensor:
    return numbers if bits == 8 else pack_numbers(numbers, bits)


def _unpacked(stored: Tensor, rows: int, columns: int, bits: int) -> Tensor:
    stored = stored.view(rows, packed_bytes(columns, bits))
    return stored if bits == 8 else unpack_numbers(stored, columns, bits)
