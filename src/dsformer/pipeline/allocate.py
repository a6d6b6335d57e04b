"""Stage: the allocation of the artefact's bits among the blocks."""

from dataclasses import replace

from dsformer.allocation.plan import Plan, plan_blocks
from dsformer.errors import InputError
from dsformer.format.pattern import Pattern
from dsformer.pipeline.block_checkpoints import DIRECTORY, Checkpoints
from dsformer.pipeline.state import State, have


def allocate(state: State) -> State:
    """Give every block its budget of bits.

    Raises:
        UnreachableError: the ratio cannot be reached; the message says which ratios can.
        InputError: the pattern fits no layer.
    """
    model, recipe, tracing = have(state.source).model, state.recipe, have(state.tracing)
    request = state.request
    checkpoints = Checkpoints(request.work / DIRECTORY if request.resumes else None, model)
    plan = plan_blocks(
        model,
        tracing,
        have(state.statistics),
        recipe,
        [have(state.probe)],
        state.progress,
        state.dropped,
        checkpoints.read_allotments(),
    )
    _require_groups(plan, Pattern.parse(recipe.pattern))
    checkpoints.write_allotments({planned.name: planned.allotment for planned in plan.blocks})
    return replace(state, plan=plan, checkpoints=checkpoints)


def _require_groups(plan: Plan, pattern: Pattern) -> None:
    """Check that a pattern that groups rows fits some layer; otherwise all forms would be of low rank.

    Raises:
        InputError: it fits none.
    """
    sizes = [(*planned.block.members, planned.block.shape[1]) for planned in plan.blocks]
    if all(size % pattern.group for each in sizes for size in each):
        raise InputError(f"pattern {pattern}: no layer's rows can be divided into groups of {pattern.group}")
