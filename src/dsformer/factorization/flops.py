"""What fits cost, in operations at the rate of a matrix product, counted from shapes."""

from dsformer.factorization.sparse_coding import CONJUGATE_STEPS
from dsformer.format.spec import FormSpec

# What one code costs an alternation beside the products: selection, elementwise passes.
CODE = 400
# A symmetric eigendecomposition, in units of n cubed.
EIGEN = 25
# Small factorized systems run at this part of the rate.
SMALL_SYSTEMS = 0.1
# And products of the blocks of factors, copies included, at this.
SMALL_PRODUCTS = 0.35


def count_alternation_flops(spec: FormSpec, curved: bool = False) -> float:
    """One step of codes and dictionary; ``curved`` where the outputs have a metric too."""
    units, width, atoms, positions = spec.units, spec.width, spec.atoms, spec.core + spec.candidates
    dictionary = 2 * units * atoms * (atoms + width) + 2 * atoms**2 * width
    if spec.orientation == "input" and not curved:
        gram = 2 * atoms**2 * width
        if spec.canonical:
            dictionary += 2 * units * width**2
            gram += 2 * atoms * width**2
        codes = gram + positions**3 + 2 * units * positions**2 + 2 * units * width * atoms
    else:
        dictionary += 2 * units**2 * atoms
        codes = 4 * units**2 * width + EIGEN * atoms**3 + 8 * units * width * atoms
        if curved and spec.canonical:
            codes += (EIGEN * width**3 if atoms else 0) + 6 * units * width**2
    return float(dictionary + codes + CODE * units * positions)


def count_polish_flops(spec: FormSpec, curved: bool = False) -> float:
    """Exact codes on the final support, twice."""
    kept = spec.core + spec.mean_nonzeros
    if spec.orientation == "input" and not curved:
        return 2 * spec.groups * kept**3 / 3 / SMALL_SYSTEMS
    return 2 * CONJUGATE_STEPS * (4.0 * spec.units * spec.atoms * spec.width + 2 * spec.units**2 * spec.width)
