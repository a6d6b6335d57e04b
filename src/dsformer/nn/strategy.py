"""Execution strategy of a layer without gradients: the cheapest of three ways, with its matrices made once.

``dense``
    the dense weight: one product, with as many multiply-adds as before compression.
``factored``
    the dictionary, then the codes written out as a dense matrix: two products.
``gathered``
    the dictionary, then the operator's gather and batched products; for grouped supports only.

The cost of a way is its multiply-adds for one token, with the surcharges of ``ops.reference`` for what is gathered. The
cost of a dictionary is divided among the layers that share it. The matrix is kept in addition to the stored tensors:
this trades memory for time.
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
    """A way to run, and the matrix that it needs: the weight (dense), the codes (factored), none (gathered)."""

    way: Strategy
    matrix: Float[Tensor, "..."] | None = None


def strategy_costs(spec: FormSpec, sharing: int = 1) -> dict[Strategy, int]:
    """Return the cost of every possible way for one token; ``sharing`` layers share the dictionary."""
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
    """Return the way of least cost; of equal ones the first."""
    options = strategy_costs(spec, sharing)
    return min(options, key=options.__getitem__)
