"""Base class and field types of every package's configuration."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from dsformer.utils.atomic_io import user_path

# The largest integer of a recipe, which is the largest seed of NumPy.
LARGEST = 2**32 - 1


# A path as users write it, with ``~`` expanded.
UserPath = Annotated[Path, BeforeValidator(lambda path: user_path(path) if isinstance(path, str) else path)]


class StrictModel(BaseModel):
    """Base class of configurations: unknown fields, NaN and infinity are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _of_a_size_that_libraries_take(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"is larger than {LARGEST}")
        return value
