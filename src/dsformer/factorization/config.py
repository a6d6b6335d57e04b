"""How long a weight is searched and fitted."""

from typing import Annotated

from pydantic import Field

from dsformer.factorization.dense_sparse import Effort
from dsformer.utils.config import StrictModel


class EffortConfig(StrictModel):
    """How long each weight is searched and fitted."""

    iterations: Annotated[int, Field(ge=1, description="alternations of the final fit of a weight")] = Effort.iterations
    screening: Annotated[int, Field(ge=1, description="alternations spent on each candidate shape")] = Effort.screening
    tolerance: Annotated[float, Field(ge=0, description="stop when codes move less than this, relatively")] = (
        Effort.tolerance
    )

    def as_effort(self) -> Effort:
        return Effort(self.iterations, self.screening, self.tolerance)
