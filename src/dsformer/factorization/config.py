"""Configuration of the search and fit of each weight: alternations and tolerance."""

from typing import Annotated

from pydantic import Field

from dsformer.factorization.dense_sparse import Effort
from dsformer.utils.config import StrictModel


class EffortConfig(StrictModel):
    """Limits on the search and fit of each weight (``effort`` in a recipe)."""

    iterations: Annotated[int, Field(ge=1, description="alternations of the final fit of a weight")] = Effort.iterations
    screening: Annotated[int, Field(ge=1, description="alternations spent on each candidate shape")] = Effort.screening
    tolerance: Annotated[float, Field(ge=0, description="stop when codes move less than this, relatively")] = (
        Effort.tolerance
    )

    def as_effort(self) -> Effort:
        """Return these settings as the :class:`Effort` that the solvers take."""
        return Effort(self.iterations, self.screening, self.tolerance)
