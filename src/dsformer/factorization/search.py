"""Shape search: the form of least whitened error of a weight within a budget of bits.

A :class:`Family` lists shapes, which split the bits differently between dictionary and codes. :class:`_Descent`
screens them by short fits, and :func:`search` fits the best in full.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from dsformer.factorization.banks import with_room
from dsformer.factorization.dense_sparse import DEFAULT_EFFORT, Effort
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.pattern import FREE, Pattern
from dsformer.format.precision import Precision
from dsformer.format.quantized import QuantizedForm
from dsformer.format.spec import FormSpec, Orientation

# Numbers of atoms tried, in units of the rank that low rank has at the same bits.
MULTIPLES = (0.0, 0.1, 0.25, 0.45, 0.7, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.8)
# Largest number of atoms, as a fraction of their length: beyond it, unit vectors would do, which cost nothing.
MOST_ATOMS = 0.8
# n:m fixes the density of the codes. The unit there is the largest number of atoms that fits.
STRIDED_MULTIPLES = (0.7, 0.8, 0.86, 0.92, 0.96, 1.0)
# A family's best shape is fitted in full when its screened error is within this factor of the best family's.
CONTENDER = 1.05
# A family whose error at the start is beyond this factor of the best family's is not searched any further.
HOPELESS = 1.15
# Many atoms take longer to settle, so that screening is unfair to them. Within this factor the larger dictionary ends
# better (up to 3 % on all of a dozen blocks tried in full).
LARGER = 1.012


@dataclass(frozen=True)
class Budget:
    """Bits that the form of one block may take.

    Attributes:
        bits: for the form, without biases.
        value_bits: bits of a stored value, or a precision with those of both factors.
        free_order: the order of the rows costs nothing, because the layer that reads them is reordered too.
    """

    bits: int
    value_bits: int | Precision
    free_order: bool = False

    def holds(self, spec: FormSpec) -> bool:
        """Return whether a form of this spec fits the budget."""
        order = 8 * spec.permutation_bytes if self.free_order else 0
        return spec.stored_bits(self.value_bits) - order <= self.bits


@dataclass(frozen=True)
class Family:
    """Shapes that differ only in how the bits are split between dictionary and codes.

    Attributes:
        orientation: of the dictionary.
        canonical: whether unit vectors are atoms too.
        pattern: constraint on supports.
        start: multiple at which the descent over numbers of atoms begins; 0: there are only canonical atoms.
    """

    orientation: Orientation
    canonical: bool
    pattern: Pattern
    start: float

    def specs(self, shape: tuple[int, int], budget: Budget, rank: int) -> dict[float, FormSpec]:
        """List the family's specs that fit, on a grid of numbers of atoms.

        Args:
            shape: of the weight, (out, in).
            budget: bits that the form may take.
            rank: the rank that low rank has at the same bits.

        Returns:
            Specs by their number of atoms as a multiple of ``rank``; with n:m, of the largest number that fits.
        """
        if self.pattern.m:
            rank = max((r for r in range(1, min(shape) + 1) if self.spec(shape, budget, r)), default=0)
        multiples = (0.0,) if self.start == 0 else STRIDED_MULTIPLES if self.pattern.m else MULTIPLES
        specs = {multiple: self.spec(shape, budget, round(multiple * rank)) for multiple in multiples}
        return {multiple: spec for multiple, spec in specs.items() if spec is not None}

    def spec(self, shape: tuple[int, int], budget: Budget, atoms: int) -> FormSpec | None:
        """Return the spec with as many non-zeros as the budget allows; None where not even one fits.

        Args:
            shape: of the weight, (out, in).
            budget: bits that the form may take.
            atoms: number of learned atoms, core atoms included.
        """
        blank = FormSpec(self.orientation, *shape, atoms=0)
        if atoms > MOST_ATOMS * blank.width or (atoms == 0 and not self.canonical) or blank.units % self.pattern.group:
            return None
        if self.pattern.m:
            return self._strided(shape, budget, atoms)
        if self.pattern.bank:
            return self._banked(replace(blank, atoms=atoms, canonical=self.canonical), budget)
        permuted = self.pattern.group > 1
        empty = replace(blank, atoms=atoms, canonical=self.canonical, pattern=self.pattern, permuted=permuted)
        most = most_nonzeros(empty, budget)
        return self._filled(replace(empty, nonzeros=most), budget) if most else None

    def _banked(self, empty: FormSpec, budget: Budget) -> FormSpec | None:
        """Return the spec whose codes and supports have all the bits that the dictionary leaves."""
        bits = Precision.of(budget.value_bits).codes
        # Code values and supports are padded to whole bytes.
        room = budget.bits - empty.stored_bits(budget.value_bits) - 16
        permuted = budget.free_order and self.orientation == "input"
        spec = with_room(replace(empty, permuted=permuted, value_bits=bits), self.pattern, room, [empty.units])
        return spec if spec.code_count and budget.holds(spec) else None

    def _filled(self, spec: FormSpec, budget: Budget) -> FormSpec:
        """Spend the remaining bits, fewer than one non-zero a unit takes, on more atoms."""
        while 0 < spec.atoms < int(MOST_ATOMS * spec.width):
            more = replace(spec, atoms=spec.atoms + 1)
            if not budget.holds(more):
                break
            spec = more
        return spec

    def _strided(self, shape: tuple[int, int], budget: Budget, atoms: int) -> FormSpec | None:
        """Return the spec of an n:m pattern. Its density is fixed, so the remaining bits go to core atoms."""
        n, m = self.pattern.n, self.pattern.m
        if self.canonical:
            blank = FormSpec(self.orientation, *shape, atoms=0)
            if atoms or blank.width % m:
                return None
            spec = replace(blank, nonzeros=blank.width // m * n, canonical=True, pattern=self.pattern)
            return spec if budget.holds(spec) else None
        for free in range(1, atoms // m + 1):
            spec = FormSpec(
                self.orientation, *shape, atoms=atoms, core=atoms - free * m, nonzeros=free * n, pattern=self.pattern
            )
            if budget.holds(spec):
                return spec
        return None


@dataclass
class Fitted:
    """The chosen form, its relative whitened error, and every shape tried with its screened error."""

    form: Form | QuantizedForm
    error: float
    tried: list[tuple[FormSpec, float]] = field(default_factory=list)


def search(
    weight: Target, budget: Budget, families: Sequence[Family], effort: Effort = DEFAULT_EFFORT, low_rank: bool = True
) -> Fitted | None:
    """Screen the shapes that fit the budget, fit the best ones, and return the form of least error.

    Args:
        weight: weight to approximate.
        budget: bits that the form may take.
        families: families of shapes, all of one pattern.
        effort: numbers of alternations.
        low_rank: whether the optimum of low rank is a candidate too.

    Returns:
        The chosen form and its error; None when nothing fits the budget.
    """
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    rank = rank_within(shape, budget)
    pattern = families[0].pattern if families else FREE
    budget = replace(budget, bits=budget.bits + _apart(weight.members, pattern, budget.free_order))
    possible = [family for family in families if _divides(pattern.group, family, weight)]
    descents = [_Descent(weight, family.specs(shape, budget, rank), family.start, effort) for family in possible]
    descents = [descent for descent in descents if descent.specs]
    fitted = []
    if rank and low_rank:
        fitted.append(Fitted(*weight.low_rank(rank)))
    descents = _promising(descents, budget)
    best = min((descent.least for descent in descents), default=0.0)
    contenders = [descent for descent in descents if descent.least <= CONTENDER * best]
    fitted += [Fitted(*weight.fit(spec, effort)) for spec in _finalists(weight, contenders, effort)]
    if not fitted:
        return None
    chosen = min(fitted, key=lambda one: one.error)
    chosen.tried = [pair for descent in descents for pair in descent.tried]
    return chosen


def _divides(group: int, family: Family, weight: Target) -> bool:
    """Return whether rows can be divided into groups none of which reaches into another layer."""
    return family.orientation == "output" or not any(span.size % group for span in weight.spans)


def _promising(descents: list["_Descent"], budget: Budget) -> list["_Descent"]:
    """Return the families that are not far behind at their start; with few bits a value the start says too little."""
    if Precision.of(budget.value_bits).rounded or not descents:
        return descents
    best = min(descent.first for descent in descents)
    return [descent for descent in descents if descent.first <= HOPELESS * best]


def _finalists(weight: Target, contenders: list["_Descent"], effort: Effort) -> list[FormSpec]:
    """Return the specs to fit in full: one of every family, or only one where outputs have a metric.

    With that metric, fits take three times as long, and screening did not use it. There the spec with the least error
    of a short fit in that metric is chosen.
    """
    specs = [descent.chosen for descent in contenders]
    if len(specs) < 2 or not weight.metric.curved:
        return specs
    return [min(specs, key=lambda spec: weight.trial(spec, effort))]


def _apart(members: tuple[int, ...], pattern: Pattern, free_order: bool) -> int:
    """Count the bits by which stacked layers, each stored separately, stay below the size of their stacked form.

    Supports and permutations are padded to a byte for every layer, but groups are numbered within a layer.
    """
    padding = -8 * len(members)
    if pattern.group == 1 or free_order or sum(members) % pattern.group:
        return padding
    together = sum(members) * (sum(members) // pattern.group - 1).bit_length()
    apart = sum(units * (units // pattern.group - 1).bit_length() for units in members)
    return 2 * padding + together - apart


def most_nonzeros(empty: FormSpec, budget: Budget) -> int:
    """Return the largest number of non-zeros a unit with which a spec fits a budget."""
    return most(empty.candidates, lambda nonzeros: budget.holds(replace(empty, nonzeros=nonzeros)))


def most(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to a limit that fits, by bisection: all smaller ones must fit. 0 where none does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def rank_within(shape: tuple[int, int], budget: Budget) -> int:
    """Return the largest rank of a low-rank form that fits a budget."""
    rank = min(budget.bits // (Precision.of(budget.value_bits).least * sum(shape)), *shape)

    def held(orientation: Orientation) -> bool:
        return budget.holds(FormSpec(orientation, *shape, atoms=rank, core=rank))

    while rank and not (held("input") and held("output")):
        rank -= 1
    return rank


class _Descent:
    """Walk over one family's specs, in order of atoms, while the screened error falls.

    Args:
        weight: weight to approximate.
        specs: specs by their multiple of the low-rank rank.
        start: multiple to begin at.
        effort: numbers of alternations.
    """

    def __init__(self, weight: Target, specs: dict[float, FormSpec], start: float, effort: Effort):
        self.weight, self.effort = weight, effort
        self.specs = list(specs.values())
        self.errors: dict[int, float] = {}
        multiples = list(specs)
        self.start = min(range(len(multiples)), key=lambda i: abs(multiples[i] - start)) if multiples else 0

    @property
    def tried(self) -> list[tuple[FormSpec, float]]:
        """Every spec screened, with its error."""
        return [(self.specs[i], error) for i, error in sorted(self.errors.items())]

    @property
    def first(self) -> float:
        """Screened error at the start."""
        return self._screened(self.start)

    @cached_property
    def least(self) -> float:
        """Least screened error of the walk."""
        self._walk(-1)
        self._walk(1)
        return min(self.errors.values())

    @property
    def chosen(self) -> FormSpec:
        """The best screened spec; of those nearly as good, the one with the most atoms."""
        return self.specs[max(i for i, error in self.errors.items() if error <= LARGER * self.least)]

    def _walk(self, step: int) -> None:
        position = self.start
        self._screened(position)
        while 0 <= position + step < len(self.specs) and self._screened(position + step) < self._screened(position):
            position += step

    def _screened(self, i: int) -> float:
        if i not in self.errors:
            self.errors[i] = self.weight.screen(self.specs[i], self.effort)
        return self.errors[i]
