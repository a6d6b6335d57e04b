"""Stage: factorization. Every block gets the form of least error that fits its budget."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from dsformer.allocation.basis_sharing import share_dictionaries
from dsformer.allocation.planned_block import FittedBlock, PlannedBlock
from dsformer.calibration.symmetry import permute_rows
from dsformer.errors import InputError
from dsformer.factorization.channel_removal import remove_channels
from dsformer.factorization.methods import fit_weight
from dsformer.factorization.search import Fitted
from dsformer.format.pattern import FREE, Pattern
from dsformer.pipeline.block_checkpoints import Checkpoints
from dsformer.pipeline.quantize import quantize_fitted
from dsformer.pipeline.state import State, have
from dsformer.recipe import Recipe
from dsformer.utils.threads import iterate_as_done


def factorize(state: State) -> State:
    """Search and fit every block, in parallel with one thread each, so results do not depend on thread counts.

    Blocks whose rows may change places are fitted first. Their groups determine an order of rows, the model is
    reordered by it, and the blocks that read these rows follow. Blocks that an unfinished run has fitted are not fitted
    again.

    Raises:
        UnreachableError: no form of a block fits its budget.
    """
    recipe, blocks = state.recipe, have(state.plan).blocks
    planned = {block.name: block for block in blocks}
    readers = {block.exchange.reader for block in blocks if block.exchange}
    fitted: dict[str, Fitted] = {}
    fit = partial(_fit_all, recipe=recipe, checkpoints=have(state.checkpoints), fitted=fitted)

    def tick() -> None:
        state.progress("factorize", len(fitted), len(blocks))

    tick()
    fit([block for block in blocks if block.name not in readers], tick=tick)
    for block in blocks:
        if block.exchange and (order := fitted[block.name].form.permutation) is not None:
            reader = planned[block.exchange.reader]
            fitted[block.name] = replace(fitted[block.name], form=fitted[block.name].form.in_own_order())
            permute_rows(block.block, reader.block, block.exchange, order)
            planned[reader.name] = reader.reordered(block.exchange.read(order, reader.block.shape[1]))
    fit([block for name, block in planned.items() if name in readers], tick=tick)
    done = [FittedBlock(block, fitted[name]) for name, block in planned.items()]
    if recipe.share_dictionaries:
        done = share_dictionaries(done, recipe, partial(state.progress, "share"))
    return replace(state, blocks=tuple(done))


def _fit_all(
    blocks: Sequence[PlannedBlock],
    recipe: Recipe,
    checkpoints: Checkpoints,
    fitted: dict[str, Fitted],
    tick: Callable[[], None],
) -> None:
    """Fit some blocks, or read what an unfinished run has of them."""
    left = []
    for block in blocks:
        if (found := checkpoints.read_fitted(block.name)) is None:
            left.append(block)
        else:
            fitted[block.name] = found
    tick()
    # Largest first, so that no long fit is left for the end.
    left.sort(key=lambda block: -block.block.shape[0] * block.block.shape[1] ** 2)
    for block, one in iterate_as_done(partial(_fit, recipe=recipe), left):
        checkpoints.write_fitted(block.name, one)
        fitted[block.name] = one
        tick()


def _fit(planned: PlannedBlock, recipe: Recipe) -> Fitted:
    pattern, precision = Pattern.parse(recipe.pattern), recipe.fitted_precision
    if pattern.bank and planned.row_weights is not None:
        pattern = FREE  # rows of a table are looked up one by one: banks would gain nothing
    with torch.no_grad():
        target = planned.target()
        try:
            if planned.kept is not None:
                return remove_channels(target, planned.kept, precision)
            fitted = fit_weight(target, planned.budget, pattern, recipe.method, recipe.effort.as_effort())
            return fitted if precision is None else quantize_fitted(fitted, target, precision)
        except InputError as error:
            raise type(error)(f"{planned.name}: {error}") from None
