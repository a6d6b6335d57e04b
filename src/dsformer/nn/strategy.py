"""How a layer runs when no gradient is needed: the cheapest of three ways, with its matrices made once.

``dense``
    the weight multiplied out: one product, as many multiply-adds as before compression.
``factored``
    the dictionary, then the codes written out densely: two products.
``gathered``
    grouped supports only: the dictionary, then the operator's gather and batched products.

The cost of a way is its multiply-adds for one token (with the surcharges of ``ops.backends.reference`` for what is
gathered); that of a dictionary is divided among the layers that share it. The matrix is kept beside the stored tensors:
this buys time with memory.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dsformer.format.spec import FormSpec
from dsformer.ops.reference import gathered_cost

Strategy = Literal["dense", "factored", "gathered"]


@dataclass(frozen=True)
class ExecutionPlan:
    """A way to run and the matrix it needs: the weight (dense), the codes (factored), nothing (gathered)."""

    way: Strategy
    matrix: Float[Tensor, "..."] | None = None


def strategy_costs(spec: FormSpec, sharing: int = 1) -> dict[Strategy, int]:
    """Cost of every possible way for one token; ``sharing`` layers share the dictionary."""
    dictionary = spec.atoms * spec.width // sharing
    positions = spec.core + spec.candidates
    result: dict[Strategy, int] = {
        "dense": spec.units * spec.width,
        "factored": dictionary + spec.units * positions,
    }
    if spec.pattern.group > 1 and spec.nonzeros:
        output = spec.orientation == "output"
        codes = gathered_cost(spec.units, spec.groups, spec.nonzeros, spec.core, positions, output)
        result["gathered"] = dictionary + codes
    return result


def choose_strategy(spec: FormSpec, sharing: int = 1) -> Strategy:
    """The way that costs least; the earlier one in doubt."""
    options = strategy_costs(spec, sharing)
    return min(options, key=options.__getitem__)
