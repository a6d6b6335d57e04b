"""The method Monarch: two block-diagonal factors with a fixed permutation between them."""

from dataclasses import replace

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.flops import SMALL_PRODUCTS
from dsformer.factorization.methods.base import Method
from dsformer.factorization.methods.low_rank import LOW_RANK
from dsformer.factorization.monarch import STEPS, fit_monarch
from dsformer.factorization.search import Budget, Fitted, most
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec

# Numbers of blocks tried (the authors of Monarch take 4 for BERT), and alternations of a trial.
BLOCKS, TRIAL = (2, 4, 8), 1
# Factor on the alternations: 30 leave the error 0.5 % above what 90 reach.
PATIENCE = 3


def specs(shape: tuple[int, int], members: tuple[int, ...], budget: Budget) -> list[FormSpec]:
    """List shapes within a budget: for every number of blocks that divides the weight, the one with the most atoms.

    Args:
        shape: of the weight, (out, in).
        members: output features of the stacked layers.
        budget: bits that the form may take.
    """
    dividing = [blocks for blocks in BLOCKS if not any(count % blocks for count in (shape[1], *members))]
    found = [_largest(shape, blocks, budget) for blocks in dividing]
    return [spec for spec in found if spec is not None]


def _largest(shape: tuple[int, int], blocks: int, budget: Budget) -> FormSpec | None:
    """Return the spec with the most atoms that fit; None where none do."""
    rows, width = shape
    blank = FormSpec("input", rows, width, blocks, nonzeros=1, dictionary_nonzeros=width // blocks, blocks=blocks)

    def with_rank(rank: int) -> FormSpec:
        return replace(blank, atoms=rank * blocks, nonzeros=rank)

    # No more atoms than an artefact may have.
    rank = most(min(rows, width, (rows + width) // blocks), lambda rank: budget.holds(with_rank(rank)))
    return with_rank(rank) if rank else None


def fit(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Fit the best of several numbers of blocks, ranked by a short fit in the metric of the inputs.

    A weight that none of these numbers divides, such as a classifier of 77 classes, has one block, which is low rank.
    Arguments are as of ``Method.fit``.
    """
    known = specs((weight.matrix.shape[0], weight.matrix.shape[1]), weight.members, budget)
    if not known:
        return LOW_RANK.fit(weight, budget, pattern, effort)
    tried = [(spec, fit_monarch(weight.of_inputs.input, spec, TRIAL)[1]) for spec in known]
    best = min(tried, key=lambda one: one[1])[0]
    return Fitted(*fit_monarch(weight.input, best, PATIENCE * effort.iterations), tried)


def operations(shape: tuple[int, int], members: tuple[int, ...], budget: Budget, effort: Effort, curved: bool) -> float:
    """Count the operations of a trial of every number of blocks, and of the final fit, for which any may be chosen.

    Arguments are as of ``Method.operations``.
    """
    known = specs(shape, members, budget)

    def round_of(spec: FormSpec, curved: bool) -> float:
        outputs = 2.0 * spec.units * spec.nonzeros * (spec.atoms + (spec.units if curved else 0))
        inputs = 2.0 * spec.atoms * spec.dictionary_nonzeros * (spec.atoms + spec.width)
        return (STEPS + 2) * (outputs + inputs) / SMALL_PRODUCTS

    tried = sum((1 + TRIAL) * round_of(spec, False) for spec in known)
    final = sum(round_of(spec, curved) for spec in known) / max(1, len(known))
    return tried + (1 + PATIENCE * effort.iterations) * final


MONARCH = Method(
    fit,
    "two block-diagonal matrices, a fixed permutation between them (Monarch, arXiv 2204.00595)",
    operations=operations,
    sparse_dictionary=True,
    rank_gain=1.0,
)
