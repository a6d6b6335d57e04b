"""How a layer runs when no gradient is needed: the cheapest of three ways, with its matrices made once.

``dense``
    the weight multiplied out: one product, as many multiply-adds as before compression.
``factored``
    the dictionary, then the codes written out densely: two products.
``gathered``
    grouped supports only: the dictionary, then the operator's gather and batched products.

Cost rule, in multiply-adds a token: a matrix product costs its multiply-adds; a batched product of a gathered support
``BATCHED`` times as many and ``GATHER`` more for every gathered number; the cost of a dictionary that several layers
share is divided among them. ``benchmarks/reference_cost.py`` measures the two constants (here: one core with AVX-512).
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.form import FormSpec

BATCHED = 2
GATHER = 12

Way = Literal["dense", "factored", "gathered"]


@dataclass(frozen=True)
class Plan:
    """A way to run and the matrix it needs: the weight (dense), the codes (factored), nothing (gathered)."""

    way: Way
    matrix: Float[Tensor, "..."] | None = None


def costs(spec: FormSpec, sharing: int = 1) -> dict[Way, int]:
    """Cost of every possible way for one token; ``sharing`` layers share the dictionary."""
    dictionary = spec.atoms * spec.width // sharing
    positions = spec.core + spec.candidates
    result: dict[Way, int] = {
        "dense": spec.units * spec.width,
        "factored": dictionary + spec.units * positions,
    }
    if spec.pattern.group > 1:
        gathered = spec.groups * spec.nonzeros * GATHER
        result["gathered"] = dictionary + spec.units * (spec.core + spec.nonzeros * BATCHED) + gathered
    return result


def cheapest(spec: FormSpec, sharing: int = 1) -> Way:
    """The way that costs least; the earlier one in doubt."""
    options = costs(spec, sharing)
    return min(options, key=options.__getitem__)
