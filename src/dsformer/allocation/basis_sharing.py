"""Basis sharing: blocks of neighbouring layers share a dictionary, in pairs, where that lowers the error at equal bits.

A pair of blocks of the same role saves one of two dictionaries. The bits go into more atoms and more non-zeros. Every
pair of neighbours is fitted. Of the pairs that are better together, those that gain most are taken. Only input
dictionaries are shared: an output dictionary spans what a layer writes, and two layers write different things.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch

from dsformer.allocation.planned_block import FittedBlock, PlannedBlock
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.gptq import quantize_gptq_by_input
from dsformer.factorization.search import Fitted, most_nonzeros, rank_within
from dsformer.factorization.shared_dictionary import fit_shared
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.indices import sort_entries
from dsformer.format.precision import Precision
from dsformer.format.quantized import QuantizedForm
from dsformer.format.spec import FormSpec
from dsformer.recipe import Recipe
from dsformer.utils.threads import iterate_as_done

# Numbers of atoms tried for a shared dictionary, in units of the mean of the two separate ones.
MULTIPLES = (1.0, 1.5, 2.2)


@dataclass(frozen=True)
class _Pair:
    """Two blocks that might share a dictionary, with their positions among all blocks."""

    first: int
    second: int
    blocks: tuple[FittedBlock, FittedBlock]

    @property
    def planned(self) -> list[PlannedBlock]:
        """The two blocks as they were planned."""
        return [one.planned for one in self.blocks]

    @property
    def importances(self) -> list[float]:
        """Squared relative change of the model's output per squared relative error, of each block."""
        return [one.importance for one in self.planned]

    def cost(self, errors: Sequence[float]) -> float:
        """Predict the squared relative change of the model's output that relative errors of the two blocks cause."""
        return sum(weight * error**2 for weight, error in zip(self.importances, errors, strict=True))

    @property
    def joined(self) -> PlannedBlock:
        """Both blocks stacked, with the bits of both."""
        first, second = self.planned
        bits = first.budget.bits + second.budget.bits
        return replace(first, block=first.block.beside(second.block), budget=replace(first.budget, bits=bits))

    def specs(self) -> list[FormSpec]:
        """List the specs of the stacked blocks that fit the bits of both."""
        joined, spec = self.joined, self.blocks[0].fitted.form.spec
        (rows, width), budget = joined.block.shape, joined.budget
        if spec.core == spec.atoms and not spec.canonical:
            rank = min(rank_within((rows, width), budget), width)
            return [FormSpec("input", rows, width, atoms=rank, core=rank)]
        own = sum(one.fitted.form.spec.atoms for one in self.blocks) / 2
        found = []
        for multiple in MULTIPLES:
            empty = replace(spec, out_features=rows, atoms=min(round(multiple * own), width), nonzeros=0, ragged=())
            if most := most_nonzeros(empty, budget):
                found.append(replace(empty, nonzeros=most))
        return found


def share_dictionaries(
    blocks: Sequence[FittedBlock], recipe: Recipe, tick: Callable[[int, int], None]
) -> list[FittedBlock]:
    """Let neighbours share a dictionary where that lowers the error.

    Args:
        blocks: fitted blocks, each with its own dictionary.
        recipe: recipe that they were fitted by.
        tick: notified with the number of pairs that are done, and the number of all pairs.

    Returns:
        The blocks, where a pair is one block in the place of its first.
    """
    pairs, effort = _pairs(blocks), recipe.effort.as_effort()
    found: list[tuple[_Pair, Fitted, float]] = []
    for pair, (one, gain) in iterate_as_done(partial(_fit, effort=effort, precision=recipe.fitted_precision), pairs):
        found.append((pair, one, gain))
        tick(len(found), len(pairs))
    kept, used = dict[int, FittedBlock](), set[int]()
    for pair, one, gain in sorted(found, key=lambda each: (-each[2], each[0].first)):
        if gain > 0 and not used & {pair.first, pair.second}:
            kept[pair.first] = FittedBlock(pair.joined, one)
            used |= {pair.first, pair.second}
    return [kept.get(i, block) for i, block in enumerate(blocks) if i in kept or i not in used]


def _pairs(blocks: Sequence[FittedBlock]) -> list[_Pair]:
    """List neighbours of the same role whose forms could share a dictionary."""
    roles: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, one in enumerate(blocks):
        roles[tuple(re.sub(r"\d+", "*", name) for name in one.block.names)].append(i)
    near = [pair for places in roles.values() for pair in pairwise(places)]
    pairs = [_Pair(i, j, (blocks[i], blocks[j])) for i, j in near]
    return [pair for pair in pairs if _can_share(pair)]


def _can_share(pair: _Pair) -> bool:
    """Return whether two blocks have input dictionaries and the same shape."""
    first, second = (one.fitted.form.spec for one in pair.blocks)
    kinds = {(one.block.kind, one.block.shape, one.kept) for one in pair.planned}
    plain = first.orientation == second.orientation == "input" and first.canonical == second.canonical
    return plain and min(first.atoms, second.atoms) > 0 and len(kinds) == 1 and pair.blocks[0].block.kind != "embedding"


def _fit(pair: _Pair, effort: Effort, precision: Precision | None) -> tuple[Fitted, float]:
    """Fit the best form of a pair. Returns it and by how much the errors of the separate forms cost more."""
    with torch.no_grad():
        weights = [one.target() for one in pair.planned]
        by_spec = [
            (spec, pair.cost(_fitted(pair, [w.of_inputs for w in weights], spec, effort.screening)[1]))
            for spec in pair.specs()
        ]
        spec = min(by_spec, key=lambda one: one[1])[0]
        form, errors = _fitted(pair, weights, spec, effort.final(spec, weights[0].metric.curved))
        whole: Form | QuantizedForm = form
        if precision is not None:
            rows = [len(weight.matrix) for weight in weights]
            whole = quantize_gptq_by_input(form, [weight.metric.gram for weight in weights], rows, precision)
            errors = [weight.error(part) for weight, part in zip(weights, whole.split(rows), strict=True)]
    mean = (sum(error**2 for error in errors) / len(errors)) ** 0.5
    return Fitted(whole, mean, by_spec), pair.cost([one.fitted.error for one in pair.blocks]) - pair.cost(errors)


def _fitted(pair: _Pair, weights: Sequence[Target], spec: FormSpec, iterations: int) -> tuple[Form, list[float]]:
    """Fit one spec to both weights. Returns the form of the stack and the relative error of each weight."""
    problems = [weight.input for weight in weights]
    # Squared errors are weighted by their cost relative to the energy of their weight.
    costs = [one / max(problem.energy, 1e-30) for one, problem in zip(pair.importances, problems, strict=True)]
    form, errors = fit_shared(problems, spec, [cost / max(*costs, 1e-30) for cost in costs], iterations)
    return sort_entries(form, pair.joined.block.members), errors
