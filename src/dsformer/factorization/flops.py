"""FLOP counts of fits, from shapes alone, for an estimate of their time.

Operations count at the rate of a matrix product. What runs more slowly, such as an eigendecomposition, counts for more.
"""

from dsformer.factorization.sparse_coding import CONJUGATE_STEPS
from dsformer.format.spec import FormSpec

# Overhead of one code in an alternation, beside the matrix products: selection and elementwise passes.
CODE = 400
# Operations of a symmetric eigendecomposition, in units of n cubed.
EIGEN = 25
# Batches of small linear systems run at this fraction of the rate of a matrix product.
SMALL_SYSTEMS = 0.1
# Products of the blocks of block-diagonal factors, copies included, run at this fraction of it.
SMALL_PRODUCTS = 0.35


def count_alternation_flops(spec: FormSpec, curved: bool = False) -> float:
    """Count the operations of one alternation: one update of the codes and one of the dictionary.

    Args:
        spec: shape of the form.
        curved: whether the outputs have a metric too.
    """
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
    """Count the operations of the final polish: codes solved for twice by least squares on the final support.

    Arguments are as of :func:`count_alternation_flops`.
    """
    kept = spec.core + spec.mean_nonzeros
    if spec.orientation == "input" and not curved:
        return 2 * spec.groups * kept**3 / 3 / SMALL_SYSTEMS
    return 2 * CONJUGATE_STEPS * (4.0 * spec.units * spec.atoms * spec.width + 2 * spec.units**2 * spec.width)
