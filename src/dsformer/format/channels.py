"""What structured pruning leaves of a weight: some rows, some columns."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class KeptChannels:
    """What stays of a block: rows, and columns, by number; None: all.

    Attributes:
        heads: the rows are those of heads of attention.
    """

    rows: Int[Tensor, " rows"] | None = None
    columns: Int[Tensor, " columns"] | None = None
    heads: bool = False

    def shape(self, full: tuple[int, int]) -> tuple[int, int]:
        """Of a weight of which this stays."""
        rows, columns = (
            size if own is None else len(own) for size, own in zip(full, (self.rows, self.columns), strict=True)
        )
        return rows, columns
