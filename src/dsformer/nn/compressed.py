"""Stored form of a module: unpacking from its tensors, and packing into them."""

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from dsformer.errors import InputError
from dsformer.format.bitpacking import pack_integers, unpack_integers
from dsformer.format.form import Form
from dsformer.format.indices import find_nonzeros
from dsformer.format.precision import packed_bytes
from dsformer.format.quantized import QuantizedForm
from dsformer.format.ragged import pack_ragged_support, pad_ragged, stored_entries, unpack_ragged_support
from dsformer.format.support_codec import (
    check_permutation,
    pack_permutation,
    pack_support,
    unpack_permutation,
    unpack_support,
)
from dsformer.nn.parameters import StoredTensors
from dsformer.ops.unpacking import unpack_ragged_traceable, unpack_support_traceable


class StoredForm(StoredTensors):
    """The form that :class:`StoredTensors` hold.

    What is unpacked is cached until the tensors change.
    """

    @property
    def shared_dictionary(self) -> Tensor | None:
        """Dictionary, which the first module of the block holds."""
        if self.precision:
            return self._as_floats().dictionary if self.spec.atoms else None
        owner = self.lead
        # A sparse dictionary is written out at every call: an optimizer may have changed it unnoticed.
        return owner.dictionary if owner.inner is None or owner.dictionary is None else owner._with_zeros()

    def _with_zeros(self) -> Float[Tensor, "atoms width"]:
        """Return a sparse dictionary written out as a dense matrix."""
        assert self.dictionary is not None
        whole = self.dictionary.new_zeros(self.spec.dictionary_shape)
        return whole.scatter(1, self.entries().long(), self.dictionary)

    def entries(self) -> Int[Tensor, "atoms kept"]:
        """Return the columns of the stored entries of a sparse dictionary, int32."""
        inner, support, device = self.inner, self.dictionary_support, self.weight.device
        assert inner is not None
        if torch.compiler.is_compiling():
            return unpack_support_traceable(inner, support, device)
        sources = () if support is None else (support,)
        return self._unpacked.entries.get(sources, lambda: unpack_support(inner, support)).to(device)

    @property
    def values(self) -> Float[Tensor, "units kept"]:
        """Code values, in the type of outputs."""
        return self._as_floats().values if self.precision else self._values()

    def _values(self) -> Tensor:
        if self.spec.ragged:
            return pad_ragged(self.spec, self.weight, self._ragged()[1])
        return self.weight.view(self.spec.units, self.spec.core + self.spec.nonzeros)

    def _ragged(self) -> tuple[Int[Tensor, "units nonzeros"], Int[Tensor, " entries"]]:
        """Return the candidates of ragged codes, and the places of their values among them."""
        support = self.support
        assert support is not None
        if torch.compiler.is_compiling():
            return unpack_ragged_traceable(self.spec, support)
        return self._unpacked.ragged.get((support,), lambda: self._unpacked_ragged())

    def _unpacked_ragged(self) -> tuple[Int[Tensor, "units nonzeros"], Int[Tensor, " entries"]]:
        indices, slots = unpack_ragged_support(self.spec, self.support)
        return indices.to(self.weight.device), slots.to(self.weight.device)

    def _as_floats(self) -> Form:
        if torch.compiler.is_compiling():
            return self.quantized_form(self.indices).form(self.dtype)
        return self._unpacked.numbers.get(self.sources, lambda: self.quantized_form(self.unpacked()).form(self.dtype))

    def quantized_form(self, indices: Int[Tensor, "groups nonzeros"]) -> QuantizedForm:
        """Return the quantized form that is stored, given its indices.

        Integers of 8 bits share memory with the module.
        """
        assert self.precision is not None
        lead = self.lead
        values, dictionary = self.integer_factors()
        of_atoms, of_codes = (
            torch.empty(0, dtype=torch.bfloat16) if scale is None else scale.view(torch.bfloat16)
            for scale in (lead.dictionary_scale, self.weight_scale)
        )
        return QuantizedForm(
            self.spec,
            dictionary,
            values,
            indices,
            self._unpacked_order(),
            of_atoms,
            of_codes,
            self.precision,
            self._cells(),
        )

    def _cells(self) -> Bool[Tensor, "units kept"] | None:
        """Return which of the indices banked codes select."""
        if not self.spec.pattern.bank:
            return None
        slots = self._ragged()[1]
        cells = torch.zeros(self.spec.units * self.spec.nonzeros, dtype=torch.bool, device=slots.device)
        return cells.index_fill(0, slots, True).view(self.spec.units, self.spec.nonzeros)

    def integer_factors(self) -> tuple[Int8[Tensor, "units kept"], Int8[Tensor, "rows columns"]]:
        """Return the integers of code values and dictionary.

        Those of 8 bits share memory with the module.
        """
        assert self.precision is not None
        spec, lead = self.spec, self.lead
        rows, columns = spec.dictionary_shape
        dictionary = self.weight.new_zeros((rows, columns))
        if lead.dictionary is not None and self.inner:
            kept = _unpacked(lead.dictionary.detach(), rows, spec.dictionary_nonzeros, self.precision.dictionary)
            dictionary.scatter_(1, lead.entries().long(), kept)
        elif lead.dictionary is not None:
            dictionary = _unpacked(lead.dictionary.detach(), rows, columns, self.precision.dictionary)
        values = _unpacked(self.weight.detach(), *spec.code_shape, self.precision.codes)
        if spec.ragged:
            values = pad_ragged(spec, values[0], self._ragged()[1])
        return values, dictionary

    def _unpacked_order(self) -> Int[Tensor, " units"] | None:
        return None if self.permutation is None else unpack_permutation(self.spec, self.permutation)

    @property
    def indices(self) -> Int[Tensor, "groups nonzeros"]:
        """Selected candidates (int32), unpacked when first needed.

        Raises:
            ArtefactError: the support is damaged.
        """
        if self.spec.ragged:
            return self._ragged()[0]
        if torch.compiler.is_compiling():
            return unpack_support_traceable(self.spec, self.support, self.weight.device)
        sources = () if self.support is None else (self.support,)
        return self._unpacked.indices.get(sources, self.unpacked).to(self.weight.device)

    def unpacked(self) -> Int[Tensor, "groups nonzeros"]:
        """Return the indices, unpacked now and not cached."""
        if self.spec.ragged:
            return self._unpacked_ragged()[0]
        return unpack_support(self.spec, self.support).to(self.weight.device)

    @property
    def order(self) -> Int[Tensor, " units"] | None:
        """Unit that each code describes, unpacked when first needed; None: code i describes unit i."""
        permutation = self.permutation
        if permutation is None or torch.compiler.is_compiling():
            return None if permutation is None else unpack_permutation(self.spec, permutation)
        return self._unpacked.order.get((permutation,), lambda: unpack_permutation(self.spec, permutation))

    def validate(self) -> None:
        """Check the stored support and permutation.

        Raises:
            ArtefactError: one of them is not possible with this spec.
        """
        self.unpacked()
        if self.inner and self.dictionary_support is not None:
            unpack_support(self.inner, self.dictionary_support)
        if self.permutation is not None:
            check_permutation(self.spec, self.permutation)

    @torch.no_grad()
    def fill(self, form: Form | QuantizedForm) -> None:
        """Store the numbers of a form, cast to the type of this module.

        Raises:
            InputError: the form has another spec, or another precision.
        """
        if form.spec != self.spec or (form.permutation is None) == self.spec.permuted:
            raise InputError(f"the form of {form.spec} does not fit a layer of {self.spec}")
        precision = form.precision if isinstance(form, QuantizedForm) else None
        if precision != self.precision:
            raise InputError(f"a form with numbers of {precision} does not fit a layer of {self.precision}")
        # 8 bits are not packed, and neither are floating-point numbers.
        codes, bits = (8, 8) if precision is None else (precision.codes, precision.dictionary)
        values, support = self._stored_codes(form)
        self.weight.copy_(_packed(values, codes).reshape(self.weight.shape))
        if self.dictionary is not None:
            self.dictionary.copy_(_packed(self._stored_dictionary(form), bits))
        if isinstance(form, QuantizedForm):
            for mine, scales in zip(self._scales(), (form.value_scales, form.dictionary_scales), strict=True):
                if mine is not None:
                    mine.copy_(scales.view(torch.int16))
        if self.support is not None:
            self.support.copy_(support)
        if self.permutation is not None and form.permutation is not None:
            self.permutation.copy_(pack_permutation(form.spec, form.permutation))

    def _stored_codes(self, form: Form | QuantizedForm) -> tuple[Tensor, Tensor]:
        """Return the values of a form that are stored, and its packed support."""
        if not self.spec.ragged:
            return form.values, pack_support(self.spec, form.indices)
        cells = stored_entries(self.spec, form.values) if form.cells is None else form.cells
        return form.values[cells][None], pack_ragged_support(self.spec, form.indices, cells)

    def _stored_dictionary(self, form: Form | QuantizedForm) -> Tensor:
        """Return what is stored of a form's dictionary; the support of a sparse one is stored here."""
        if self.inner is None:
            return form.dictionary
        entries = find_nonzeros(self.spec, form.dictionary)
        if self.dictionary_support is not None:
            self.dictionary_support.copy_(pack_support(self.inner, entries))
        return form.dictionary.gather(1, entries)

    @torch.no_grad()
    def form(self) -> Form:
        """Return the stored form; floating-point values and dictionary share memory with the module."""
        if self.precision:
            return self.quantized_form(self.unpacked().long()).form(self.dtype)
        spec, dictionary = self.spec, self.shared_dictionary
        stored = self.weight.new_empty(spec.dictionary_shape) if dictionary is None else dictionary.detach()
        order, cells = self._unpacked_order(), self._cells()
        return Form(spec, stored, self.values.detach(), self.unpacked().long(), order, cells)

    def form_repr(self) -> str:
        """Return the part of ``extra_repr`` that describes the form."""
        spec = self.spec
        parts = [f"{spec.orientation} dictionary", f"atoms={spec.atoms}", f"core={spec.core}"]
        parts += [f"nonzeros={spec.mean_nonzeros:g}", f"pattern={spec.pattern}"]
        return ", ".join(
            parts
            + ["canonical"] * spec.canonical
            + ["permuted"] * spec.permuted
            + [f"blocks={spec.blocks}"] * bool(spec.blocks)
            + [str(self.precision)] * bool(self.precision)
        )


def _packed(numbers: Tensor, bits: int) -> Tensor:
    return numbers if bits == 8 else pack_integers(numbers, bits)


def _unpacked(stored: Tensor, rows: int, columns: int, bits: int) -> Tensor:
    stored = stored.view(rows, packed_bytes(columns, bits))
    return stored if bits == 8 else unpack_integers(stored, columns, bits)
