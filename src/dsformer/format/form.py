"""Factorized weight: a dictionary and sparse codes.

One family holds all the methods (see ``docs/concepts.md``): dense x sparse, low rank (every atom is a core atom),
pruning (canonical atoms only, no learned ones) and sparse + low rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.format.spec import FormSpec, dense_spec


@dataclass(frozen=True)
class Form:
    """A spec and its numbers.

    Attributes:
        spec: the shape of the form, with the definitions of unit, atom and candidate.
        dictionary: (atoms, in) for an input dictionary, (out, atoms) for an output one. A sparse dictionary is written
            out with zeros.
        values: one row for each unit: its core values, then its selected ones in ascending order of candidates.
        indices: one row for each group of units: the selected candidates, ascending. Candidate p is the learned atom
            ``core + p`` if ``p < atoms - core``, otherwise the canonical atom ``p - (atoms - core)``. Ragged rows are
            padded with further candidates, whose values are zero; the spec says how many values there are, not where.
        permutation: code i describes unit ``permutation[i]`` of the weight. The units of a group are ascending, so that
            the permutation follows from the group of every unit. None: code i describes unit i.
        cells: of banked codes, which of the indices are selected; the others pad their row. None: codes are not banked.
    """

    spec: FormSpec
    dictionary: Float[Tensor, "atoms width"] | Float[Tensor, "width atoms"]
    values: Float[Tensor, "units kept"]
    indices: Int[Tensor, "groups nonzeros"]
    permutation: Int[Tensor, " units"] | None = None
    cells: Bool[Tensor, "units kept"] | None = None

    def there(self) -> Bool[Tensor, "units kept"] | None:
        """Return which values of ragged rows exist: those of banked codes that are selected, else those not zero.

        None: all do.
        """
        if self.cells is not None:
            return self.cells
        return self.values != 0 if self.spec.ragged else None

    def codes(self) -> Float[Tensor, "units positions"]:
        """Return the codes as a dense matrix, units in the order of the weight.

        There is one column for each learned and, if allowed, each canonical atom.
        """
        spec = self.spec
        dense = self.values.new_zeros(spec.units, spec.core + spec.candidates)
        dense[:, : spec.core] = self.values[:, : spec.core]
        columns = spec.core + self.indices.repeat_interleave(spec.pattern.group, 0)
        dense.scatter_(1, columns, self.values[:, spec.core :])
        if self.permutation is None:
            return dense
        return torch.empty_like(dense).index_copy_(0, self.permutation, dense)

    def dense(self) -> Float[Tensor, "out in"]:
        """Return the weight that this form represents."""
        codes, r = self.codes(), self.spec.atoms
        if self.spec.orientation == "input":
            weight = codes[:, :r] @ self.dictionary
        else:
            weight = self.dictionary @ codes[:, :r].T
        if self.spec.canonical:
            weight = weight + (codes[:, r:] if self.spec.orientation == "input" else codes[:, r:].T)
        return weight

    def in_own_order(self) -> "Form":
        """Return the form without its permutation.

        It represents the weight with units in the order of the codes: other weights have to be reordered to match.
        """
        return Form(replace(self.spec, permuted=False), self.dictionary, self.values, self.indices, None)

    def split(self, out_features: Sequence[int]) -> list["Form"]:
        """Return one form for each member of a stacked input-dictionary block; all share the dictionary tensor.

        Neither groups nor the permutation cross members, which the fit makes sure of.
        """
        forms: list[Form] = []
        start, specs = 0, self.spec.split(out_features)
        g = self.spec.pattern.group
        for count in out_features:
            rows, groups = slice(start, start + count), slice(start // g, (start + count) // g)
            permutation = None if self.permutation is None else self.permutation[rows] - start
            cells = None if self.cells is None else self.cells[rows]
            numbers = (self.dictionary, self.values[rows], self.indices[groups])
            forms.append(Form(specs[len(forms)], *numbers, permutation, cells))
            start += count
        return forms

    @classmethod
    def joined(cls, forms: Sequence["Form"]) -> "Form":
        """Return the form of stacked layers from the forms of each: the inverse of :meth:`split`."""
        first = forms[0]
        if len(forms) == 1:
            return first
        starts = [0, *accumulate(form.spec.out_features for form in forms)]
        orders = [
            form.permutation + start for form, start in zip(forms, starts, strict=False) if form.permutation is not None
        ]
        ragged = tuple(layer for form in forms for layer in form.spec.ragged)
        bits = tuple(own for form in forms for own in form.spec.support_bits)
        cells = [form.cells for form in forms if form.cells is not None]
        return cls(
            replace(first.spec, out_features=starts[-1], ragged=ragged, support_bits=bits),
            first.dictionary,
            torch.cat([form.values for form in forms]),
            torch.cat([form.indices for form in forms]),
            torch.cat(orders) if orders else None,
            torch.cat(cells) if cells else None,
        )


def dense_form(matrix: Float[Tensor, "out in"]) -> Form:
    """Return a weight as a form whose codes are all of its entries."""
    rows, columns = matrix.shape
    every = torch.arange(columns).expand(rows, columns).contiguous()
    return Form(dense_spec(rows, columns), torch.empty(0, columns), matrix.float(), every)
