"""Bytes of stored values, dense and compressed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dsformer.format.precision import FACTORS, Precision
from dsformer.format.spec import FormSpec


@dataclass(frozen=True)
class ValueTypes:
    """Bits of a stored value: of factors, and of everything else. A dense weight has the fewer of the factors' bits."""

    factors: Precision
    rest: int

    @classmethod
    def of(cls, source: torch.dtype, dtype: str, factors: str) -> "ValueTypes":
        """Find the types of an artefact.

        Args:
            source: type of the dense model's values.
            dtype: type of the artefact's values by name, or ``keep``.
            factors: name of a precision in ``FACTORS``, or ``float``: dictionaries and codes as all other values.
        """
        rest = 8 * (source if dtype == "keep" else getattr(torch, dtype)).itemsize
        return cls(FACTORS.get(factors, Precision.of(rest)), rest)


def count_support_bytes(spec: FormSpec, members: Sequence[int]) -> tuple[int, int]:
    """Bytes of supports (a sparse dictionary's too) and permutations of a stacked block, those of each layer whole."""
    parts = spec.split(members)
    supports = spec.dictionary_support_bytes + sum(part.support_bytes for part in parts)
    return supports, sum(part.permutation_bytes for part in parts)


def describe_form(spec: FormSpec) -> str:
    """What the field calls a form."""
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
