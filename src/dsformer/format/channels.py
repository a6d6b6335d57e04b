"""Rows and columns of a weight that structured pruning keeps."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class KeptChannels:
    """Rows and columns of a block that remain after structured pruning.

    Attributes:
        rows: indices of the rows that remain; None: all.
        columns: indices of the columns that remain; None: all.
        heads: the rows belong to attention heads.
    """

    rows: Int[Tensor, " rows"] | None = None
    columns: Int[Tensor, " columns"] | None = None
    heads: bool = False

    def shape(self, full: tuple[int, int]) -> tuple[int, int]:
        """Return the shape (rows, columns) that remains of a weight of shape ``full``."""
        rows, columns = (
            size if own is None else len(own) for size, own in zip(full, (self.rows, self.columns), strict=True)
        )
        return rows, columns
