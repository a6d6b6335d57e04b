"""Everything the factorization has to know about the inputs of a model's layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor, nn

from dsformer.calibration.blocks import Block
from dsformer.calibration.grams import Statistics, collect, real_tokens, require_finite
from dsformer.calibration.influence import influence_grams, weighs_tokens


def calibrate(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    blocks: Sequence[Block],
    tables: Sequence[Block] = (),
    weighting: str = "even",
    tick: Callable[[int], None] = lambda done: None,
) -> Statistics:
    """Run the batches through the model.

    Args:
        tables: embedding tables whose lookups are counted.
        weighting: ``even``, ``influence`` or ``auto``, as of the recipe.
        tick: told how many batches are done.

    Raises:
        InputError: a layer's inputs are NaN or Inf.
    """

    def ticking() -> Iterator[Mapping[str, Tensor]]:
        for i, batch in enumerate(batches):
            tick(i)
            yield batch
        tick(len(batches))

    if not weighs_tokens(model, batches[-1], weighting):
        return collect(model, ticking(), blocks, tables)
    if tables:
        seen = collect(model, batches, [], tables)
    else:
        seen = Statistics(tokens=sum(real_tokens(batch) for batch in batches))
    seen.grams, seen.output_grams = influence_grams(model, ticking(), blocks)
    require_finite(seen.grams)
    return seen
