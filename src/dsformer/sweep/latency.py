"""How fast the models of a sweep are, all measured in turn in one run."""

from collections.abc import Sequence

from dsformer.benchmarking import measure, open_contenders
from dsformer.benchmarking.timing import Ratio

BATCH, LENGTH = 8, 64


def measured(dense: str, models: Sequence[str], seconds: float) -> list[Ratio]:
    """Speed-up of every model over the dense one, round by round: median and quartiles.

    Args:
        seconds: for each model.
    """
    contenders = open_contenders([dense, *models], ["eager"])
    found = measure(contenders, (BATCH,), (LENGTH,), seconds=seconds * len(contenders))
    return [one.speedup for one in found[1:]]
