"""What the configuration of every package is made of."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from dsformer.utils.atomic_io import user_path

# The largest whole number of a recipe: that of NumPy's seeds.
LARGEST = 2**32 - 1


# A path as users write it.
UserPath = Annotated[Path, BeforeValidator(lambda path: user_path(path) if isinstance(path, str) else path)]


class StrictModel(BaseModel):
    """Unknown fields are refused, and numbers that are none (NaN, infinity)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _of_a_size_that_libraries_take(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"is larger than {LARGEST}")
        return value
