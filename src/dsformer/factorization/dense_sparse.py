"""Dense x sparse: fit a form of given shape by ADMM on the codes, alternated with least-squares dictionary updates.

Special cases run through here too: no learned atoms is pruning. Where every atom is a core atom the form is low rank,
which has a closed form (``low_rank.py``).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsformer.factorization.least_squares import LeastSquares, OutputMetric
from dsformer.factorization.sparse_coding import Atoms, code_penalised, solve_least_squares, update_dictionary
from dsformer.factorization.support import Supports, labels_of
from dsformer.format.form import Form
from dsformer.format.indices import select_cells, select_codes
from dsformer.format.spec import FormSpec
from dsformer.utils.threads import raise_if_cancelled

# The penalty that holds codes to their supports grows geometrically between these, relative to atoms of norm 1. With a
# lower start supports wander without converging. A higher end freezes them early. Both were measured as larger errors.
# Supports shared by a group carry more energy each and settle better from a higher start.
# Where a metric couples units most of its directions weigh less than 1. There half of both is better for learned atoms,
# by up to 8 % (but 2 % worse for pruning).
PENALTY_START, GROUPED_PENALTY_START, PENALTY_END, COUPLED = 0.1, 0.2, 1.0, 0.5
# A metric concentrated on few directions, such as that of a classifier's last layers, leaves codes free in the others,
# where they move as far as the penalty lets them. There the penalty of pruning starts lower, by a factor of ``SPREAD``
# times the metric's spread, but of ``LEAST`` at least. With next to no spread the error ends at a fifth to two thirds.
# Learned atoms gain 5 % there, and lose as much where the spread is larger.
SPREAD, LEAST = 3.0, 0.01
# Penalty of a warm start, where codes and dictionary nearly fit already.
WARM_PENALTY = 0.3
# Length of an ADMM step, in units of the step to the quadratic's minimum (over-relaxation, Boyd et al. 2011, section
# 3.4.3): errors after 30 alternations are 0.4 to 3 % lower than with 1.
RELAXATION = 1.6
# Rounds of least squares for codes and dictionary on the final support.
POLISH_ROUNDS = 2
# Fraction of the alternations in which units may still change groups, and tiles.
REGROUP_UNTIL, RETILE_UNTIL = 0.9, 0.4
# Factor on the alternations of fits that settle slowly. Groups do: 30 alternations leave grouped(8) 2 to 4 % above what
# 100 reach. So does everything where outputs have a metric: 30 leave pruning 40 % above what 90 reach, more in a
# classifier's last layer, and learned atoms 6 to 8 %.
PATIENCE = 3


@dataclass(frozen=True)
class Effort:
    """Number of alternations of the search and fit of a weight.

    Attributes:
        iterations: alternations of the final fit, three times as many where output rows share supports, nothing is
            learned or outputs have a metric.
        screening: alternations spent on each candidate shape before the best is fitted.
        tolerance: a fit stops when an alternation moves the codes by less than this, relative to their norm.
    """

    iterations: int = 30
    screening: int = 10
    tolerance: float = 1e-4

    def final(self, spec: FormSpec, curved: bool) -> int:
        """Return the number of alternations of the final fit of a spec.

        Args:
            spec: shape of the form.
            curved: whether outputs have a metric.
        """
        patient = curved or spec.atoms == 0 or (spec.pattern.group > 1 and spec.orientation == "input")
        return self.iterations * (PATIENCE if patient else 1)


DEFAULT_EFFORT = Effort()


class Pursuit:
    """The present iterate of ADMM on the codes, with a dictionary that follows.

    Args:
        atoms: the present atoms.
        codes: the first codes, on an allowed support.
        supports: selects supports.
        relaxation: length of a step of the codes, in units of the step to the quadratic's minimum.
    """

    def __init__(
        self,
        atoms: Atoms,
        codes: Float[Tensor, "units positions"],
        supports: Supports,
        relaxation: float = RELAXATION,
    ):
        self.atoms, self.codes, self.supports, self.relaxation = atoms, codes, supports, relaxation
        self.dual = torch.zeros_like(codes)

    def step(self, penalty: float, regroup: bool, learn: bool) -> float:
        """Take one ADMM step of the codes, then update the dictionary if it is learned.

        Args:
            penalty: the penalty ρ of ADMM.
            regroup: whether units may change groups.
            learn: whether the dictionary is updated.

        Returns:
            The norm of the change of the codes, relative to their norm.
        """
        raise_if_cancelled()
        before, atoms = self.codes, self.atoms
        least = code_penalised(atoms, before - self.dual, penalty)
        relaxed = before + self.relaxation * (least - before) + self.dual
        codes = relaxed * self.supports.select(relaxed, regroup)
        self.codes, self.dual = codes, relaxed - codes
        moved = float((codes - before).norm() / codes.norm().clamp_min(1e-30))
        if learn:
            dictionary, norm = update_dictionary(atoms, codes)
            self.codes[:, : len(dictionary)] *= norm.T
            self.dual[:, : len(dictionary)] *= norm.T
            self.atoms = Atoms(atoms.problem, dictionary, atoms.canonical)
        return moved


def fit(
    problem: LeastSquares,
    spec: FormSpec,
    iterations: int,
    tolerance: float = 1e-4,
    dictionary: Float[Tensor, "atoms width"] | None = None,
) -> tuple[Form, float]:
    """Fit a form to a least-squares problem of its orientation.

    Deterministic: the start is the unrotated SVD (a rotated or random basis is much worse), nothing is drawn.

    Args:
        problem: least-squares problem of the weight.
        spec: shape of the form.
        iterations: the largest number of alternations.
        tolerance: the fit stops when an alternation moves the codes by less than this, relative to their norm.
        dictionary: whitened atoms of norm 1 learned elsewhere: they are kept, and only codes are fitted. None: learned.

    Returns:
        The form and its relative whitened error.
    """
    learn = dictionary is None and spec.atoms > 0
    codes, dictionary, supports = _alternate(problem, spec, iterations, tolerance, dictionary)
    mask, order = supports.select(codes, regroup=False), supports.order(len(codes))
    for _ in range(POLISH_ROUNDS if learn else 1):
        atoms = Atoms(problem, dictionary, spec.canonical)
        codes = solve_least_squares(atoms, codes, mask, order, spec.pattern.group)
        if learn:
            dictionary, norm = update_dictionary(atoms, codes)
            codes[:, : spec.atoms] *= norm.T
    error = problem.error(Atoms(problem, dictionary, spec.canonical).combine(codes))
    chosen = mask[:, spec.core :]
    indices = select_codes(chosen, spec, order)
    form = problem.form(spec, codes, dictionary, indices, order if spec.permuted else None)
    return replace(form, cells=select_cells(chosen, spec, indices, order)), error


def screen_shape(problem: LeastSquares, spec: FormSpec, iterations: int) -> float:
    """Compute the error after a few alternations, to rank shapes without the cost of full fits.

    Args:
        problem: least-squares problem of the weight.
        spec: shape of the form.
        iterations: number of alternations.
    """
    codes, dictionary, _ = _alternate(problem, spec, iterations, 0.0, None)
    return problem.error(Atoms(problem, dictionary, spec.canonical).combine(codes))


def refit(
    problem: LeastSquares,
    spec: FormSpec,
    codes: Float[Tensor, "units positions"],
    dictionary: Float[Tensor, "atoms width"],
    order: Int[Tensor, " units"],
    iterations: int,
) -> tuple[Float[Tensor, "units positions"], Bool[Tensor, "units positions"], Float[Tensor, "atoms width"]]:
    """Move codes and dictionary that nearly fit (whitened) towards a changed weight or number of non-zeros.

    Where they fit exactly already, nothing moves.

    Args:
        problem: least-squares problem of the changed weight.
        spec: shape of the form, with the new number of non-zeros.
        codes: the present codes.
        dictionary: the present learned atoms, norm 1.
        order: units in the order of their groups, which do not change.
        iterations: number of alternations.

    Returns:
        Codes, their support and the dictionary, whitened.
    """
    supports = Supports(problem, spec, labels_of(order, spec.pattern.group))
    pursuit = Pursuit(Atoms(problem, dictionary, spec.canonical), codes, supports)
    for _ in range(iterations):
        pursuit.step(WARM_PENALTY, regroup=False, learn=spec.atoms > 0)
    mask = supports.select(pursuit.codes, regroup=False)
    codes = solve_least_squares(pursuit.atoms, pursuit.codes, mask, order, spec.pattern.group)
    return codes, mask, pursuit.atoms.dictionary


def penalties(spec: FormSpec, iterations: int, coupling: OutputMetric | None = None) -> list[float]:
    """Return the ADMM penalty of every alternation, a geometric sequence.

    Args:
        spec: shape of the form.
        iterations: number of alternations.
        coupling: the metric that couples units, if there is one.
    """
    grouped = spec.pattern.group > 1
    part = COUPLED if coupling and spec.atoms and not grouped else 1.0
    first, last = part * (GROUPED_PENALTY_START if grouped else PENALTY_START), part * PENALTY_END
    if coupling and not (spec.atoms or grouped):
        first *= min(1.0, max(LEAST, SPREAD * coupling.spread))
    return [first * (last / first) ** (step / max(1, iterations - 1)) for step in range(iterations)]


def _alternate(
    problem: LeastSquares,
    spec: FormSpec,
    iterations: int,
    tolerance: float,
    given: Float[Tensor, "atoms width"] | None,
) -> tuple[Float[Tensor, "units positions"], Float[Tensor, "atoms width"], Supports]:
    """Run the pursuit from the SVD start. Returns codes, whitened dictionary and what selects the supports."""
    supports = Supports(problem, spec)
    dictionary = problem.start(spec.atoms) if given is None else given
    atoms = Atoms(problem, dictionary, spec.canonical)
    codes = atoms.product()
    if spec.atoms:
        codes[:, spec.atoms :] = 0
    pursuit = Pursuit(atoms, codes * supports.select(codes, regroup=True), supports)
    until = RETILE_UNTIL if spec.pattern.bank else REGROUP_UNTIL
    for step, penalty in enumerate(penalties(spec, iterations, problem.coupling)):
        # In every other step only: an assignment costs as much as the other parts of the step together.
        regroup = step % 2 == 0 and step < until * iterations
        moved = pursuit.step(penalty, regroup, learn=spec.atoms > 0 and given is None)
        # An orthonormal start does not move at first. Only once the duals have built up do small moves mean
        # convergence.
        if moved < tolerance and step > iterations // 2:
            break
    return pursuit.codes, pursuit.atoms.dictionary, supports
