"""The method sparse x sparse: the dictionary is sparse as well as the codes."""

from dataclasses import replace

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.double_sparse import fit_double
from dsformer.factorization.flops import EIGEN, count_alternation_flops, count_polish_flops
from dsformer.factorization.methods.base import Method
from dsformer.factorization.search import Budget, Fitted, most, most_nonzeros
from dsformer.factorization.target import Target
from dsformer.format.indices import sort_entries
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec

# Entries of the dictionary as a fraction of all values, for tall weights and for wide ones, whose dictionary is the
# larger factor. A tenth more or less changes the error by less than 2 %.
ALONE = (0.25, 0.8)
# Beside unit vectors: numbers of atoms tried, in units of the width, and their entries as such a fraction, again for
# tall and for wide weights.
BESIDE, ENTRIES = (0.18, 0.36), (0.2, 0.1)
# Factor on the alternations: two sparse factors settle more slowly than one. 40 alternations leave the error 6 to 12 %
# above what 100 reach.
PATIENCE = 3


def specs(shape: tuple[int, int], budget: Budget) -> list[FormSpec]:
    """List shapes within a budget: as many atoms as the smaller side, and fewer beside unit vectors."""
    rows, width = shape
    blank, wide = FormSpec("input", rows, width, atoms=min(shape), dictionary_nonzeros=1), width > rows
    beside = [replace(blank, atoms=max(1, round(part * width)), canonical=True) for part in BESIDE]
    found = [_filled(blank, budget, ALONE[wide]), *[_filled(spec, budget, ENTRIES[wide]) for spec in beside]]
    return [spec for spec in found if spec is not None]


def _filled(blank: FormSpec, budget: Budget, part: float) -> FormSpec | None:
    """Return the spec whose dictionary has a fraction of the values that fit, and whose codes have all others."""
    alone = most(blank.width - 1, lambda entries: budget.holds(replace(blank, dictionary_nonzeros=entries)))
    empty = replace(blank, dictionary_nonzeros=max(1, round(part * alone)))
    nonzeros = most_nonzeros(empty, budget)
    return replace(empty, nonzeros=nonzeros) if alone and nonzeros else None


def fit(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Fit the best of a few shapes, ranked after a few alternations in the metric of the inputs.

    Arguments are as of ``Method.fit``.
    """
    budget = replace(budget, bits=budget.bits - 8 * len(weight.members))
    known = specs((weight.matrix.shape[0], weight.matrix.shape[1]), budget)
    if not known:
        return None
    tried = [(spec, fit_double(weight.of_inputs.input, spec, effort.screening)[1]) for spec in known]
    best = min(tried, key=lambda one: one[1])[0]
    form, error = fit_double(weight.input, weight.suited(best), PATIENCE * effort.iterations)
    return Fitted(sort_entries(form, weight.members), error, tried)


def operations(shape: tuple[int, int], members: tuple[int, ...], budget: Budget, effort: Effort, curved: bool) -> float:
    """Count the operations of search and fit: every shape is screened, and any may be the one that is fitted.

    Arguments are as of ``Method.operations``.
    """
    known, final = specs(shape, budget), PATIENCE * effort.iterations

    def step(spec: FormSpec, curved: bool) -> float:
        entries = EIGEN * spec.atoms**3 + 6 * spec.atoms * spec.width**2 + 4 * spec.atoms**2 * spec.width
        return count_alternation_flops(spec, curved) + entries

    eigenvectors = EIGEN * (shape[1] ** 3 + (shape[0] ** 3 if curved else 0))
    screened = sum(effort.screening * step(spec, False) for spec in known)
    fitted = sum(final * step(spec, curved) + count_polish_flops(spec, curved) for spec in known)
    return eigenvectors + screened + fitted / max(1, len(known))


DOUBLE_SPARSE = Method(
    fit,
    "a sparse matrix times a sparse one (DSF, arXiv 2409.18850; here also beside unit vectors)",
    operations=operations,
    sparse_dictionary=True,
)
