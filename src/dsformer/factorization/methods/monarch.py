"""Monarch: two block-diagonal factors with a fixed permutation between them."""

from dataclasses import replace

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods.base import Method
from dsformer.factorization.monarch import fit_monarch
from dsformer.factorization.pattern import Pattern
from dsformer.factorization.search import Budget, Fitted, most
from dsformer.factorization.spec import FormSpec
from dsformer.factorization.weight import Weight

# Numbers of blocks tried (its authors take 4 for BERT), and rounds of alternation for a trial.
BLOCKS, TRIAL = (2, 4, 8), 1
# 10 rounds are 3 to 5 % above 40 where layers are stacked, 40 still 2 % above 90.
PATIENCE = 3


def specs(shape: tuple[int, int], members: tuple[int, ...], budget: Budget) -> list[FormSpec]:
    """Shapes within a budget: for every number of blocks that divides the weight the largest rank."""
    rows, width = shape
    found = []
    for blocks in BLOCKS:
        if width % blocks or any(count % blocks for count in members):
            continue
        blank = FormSpec("input", rows, width, blocks, nonzeros=1, dictionary_nonzeros=width // blocks, blocks=blocks)
        limit = min(rows, width, (rows + width) // blocks)
        rank = most(limit, lambda k, blank=blank: not k or budget.holds(_of_rank(blank, k)))
        if rank:
            found.append(_of_rank(blank, rank))
    return found


def _of_rank(blank: FormSpec, rank: int) -> FormSpec:
    """Every unit has so many atoms."""
    return replace(blank, atoms=rank * blank.blocks, nonzeros=rank)


def fit(weight: Weight, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """The form of least error among those of several numbers of blocks, ranked by a short fit in the inputs' metric."""
    known = specs((weight.matrix.shape[0], weight.matrix.shape[1]), weight.members, budget)
    if not known:
        return None
    tried = [(spec, fit_monarch(weight.of_inputs.input, spec, TRIAL)[1]) for spec in known]
    best = min(tried, key=lambda one: one[1])[0]
    return Fitted(*fit_monarch(weight.input, best, PATIENCE * effort.iterations), tried)


MONARCH = Method(
    fit,
    "two block-diagonal matrices, a fixed permutation between them (Monarch, arXiv 2204.00595)",
    sparse_dictionary=True,
)
