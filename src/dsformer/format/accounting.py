"""Value types of an artefact, byte counts of supports and permutations, names of forms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dsformer.format.precision import FACTORS, Precision
from dsformer.format.spec import FormSpec


@dataclass(frozen=True)
class ValueTypes:
    """Bits of the stored values.

    A dense weight is counted at the bits of the narrower of the two factors.

    Attributes:
        factors: bits of dictionaries and codes.
        rest: bits of every other value.
    """

    factors: Precision
    rest: int

    @classmethod
    def of(cls, source: torch.dtype, dtype: str, factors: str) -> "ValueTypes":
        """Return the value types of an artefact.

        Args:
            source: type of the dense model's values.
            dtype: name of the type of the artefact's values, or ``keep`` for that of the dense model.
            factors: name of a precision in ``FACTORS``, or ``float``: dictionaries and codes have the type of all other
                values.
        """
        rest = 8 * (source if dtype == "keep" else getattr(torch, dtype)).itemsize
        return cls(FACTORS.get(factors, Precision.of(rest)), rest)


def count_support_bytes(spec: FormSpec, members: Sequence[int]) -> tuple[int, int]:
    """Return the bytes of the supports and the bytes of the permutations of a stacked block.

    The support of a sparse dictionary is included. The bits of every layer are padded to whole bytes.

    Args:
        spec: of the stacked block.
        members: units of every layer.
    """
    parts = spec.split(members)
    supports = spec.dictionary_support_bytes + sum(part.support_bytes for part in parts)
    return supports, sum(part.permutation_bytes for part in parts)


def describe_form(spec: FormSpec) -> str:
    """Return the name that the literature has for a form, such as low rank, pruned or monarch."""
    if spec.core == spec.atoms and not spec.nonzeros:
        return "low rank"
    if spec.whole:
        return "dense"
    if not spec.atoms:
        return "pruned"
    if spec.blocks:
        return "monarch"
    product = "sparse x sparse" if spec.inner else "dense x sparse"
    return f"{product} + sparse" if spec.canonical else product
