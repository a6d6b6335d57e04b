"""ROCKET, dense x sparse in one step: the largest coefficients in principal directions, then the best dictionary."""

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods.base import Method
from dsformer.factorization.search import Budget, Family, Fitted, rank_within
from dsformer.factorization.sparse_coding import Atoms, update_dictionary
from dsformer.factorization.support import choose_support
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.indices import select_codes
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec


def fit(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Try all numbers of atoms of the grid and return the best form. Arguments are as of ``Method.fit``."""
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    specs = Family(weight.narrow, False, pattern, 1.0).specs(shape, budget, rank_within(shape, budget))
    forms = [_one_step(weight, spec) for spec in specs.values()]
    fitted = [Fitted(form, weight.error(form)) for form in forms]
    tried = [(one.form.spec, one.error) for one in fitted]
    best = min(fitted, key=lambda one: one.error, default=None)
    return None if best is None else Fitted(best.form, best.error, tried)


def _one_step(weight: Target, spec: FormSpec) -> Form:
    """Keep the largest coefficients in the principal directions, then solve for the least-squares dictionary."""
    problem = weight.of_inputs.problem(spec.orientation)
    atoms = Atoms(problem, problem.start(spec.atoms), False)
    # In whitened coordinates and an orthonormal basis the size of a coefficient is the cost of removing it.
    codes = atoms.product()
    mask = choose_support(spec, codes, None)
    dictionary, norm = update_dictionary(atoms, codes * mask)
    return problem.form(spec, codes * mask * norm.T, dictionary, select_codes(mask, spec), None)


ROCKET = Method(
    fit,
    "dense x sparse in one step: coefficients of the whitened weight, then a least-squares dictionary "
    "(after ROCKET, arXiv 2602.11008)",
    ("free",),
)
