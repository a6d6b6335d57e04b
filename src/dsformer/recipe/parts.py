"""Parts of the recipe that are about measuring and searching."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from dsformer.factorization.dense_sparse import Effort
from dsformer.utils.atomic_io import user_path

# Tokens of what is trained on that are used to calibrate, in units of the full passages that are without training: task
# text is less varied, and there is more at stake (MiniLM on CoLA at 3.57x: divergence from the dense model .050 with
# a thousand sentences, .043 with all eight thousand).
TASK_FACTOR = 4
# Passages of plain text, unless a number is given.
PASSAGES = 256


# The largest whole number of a recipe: that of NumPy's seeds.
LARGEST = 2**32 - 1
# A path as users write it.
UserPath = Annotated[Path, BeforeValidator(lambda path: user_path(path) if isinstance(path, str) else path)]


class Strict(BaseModel):
    """Unknown fields are refused, and numbers that are none (NaN, infinity)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _of_a_size_that_libraries_take(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"is larger than {LARGEST}")
        return value


class CalibrationRecipe(Strict):
    """Which text runs through the model to learn what its layers' inputs look like."""

    text: Annotated[
        UserPath | None, Field(description="calibration text: .txt (a passage a line), .csv, .tsv, .jsonl, .parquet")
    ] = None
    column: Annotated[str | None, Field(description="column of the calibration file that holds the text")] = None
    count: Annotated[
        int | None,
        Field(
            ge=1,
            description=f"calibration passages (default: {PASSAGES}; of a task's text, or one that is distilled on, as "
            f"many as have {TASK_FACTOR} times the tokens of so many full passages)",
        ),
    ] = None
    length: Annotated[int, Field(ge=2, description="longest calibration passage, in tokens")] = 128
    batch_size: Annotated[int, Field(ge=1, description="passages run through the model at once")] = 16
    weighting: Annotated[
        Literal["auto", "even", "influence"],
        Field(
            description="how much tokens and outputs of layers count: even, all the same; influence, as much as the "
            "model's output depends on them; auto, influence unless a head speaks of every token"
        ),
    ] = "auto"
    cache: Annotated[
        UserPath | None,
        Field(description="directory that keeps what was measured, for later runs with the same model and text"),
    ] = None

    @property
    def passages(self) -> int:
        """The most passages of plain text."""
        return PASSAGES if self.count is None else self.count

    @property
    def task_tokens(self) -> int:
        """How many tokens of the text of a task are used, where neither calibration text nor a count is given."""
        return TASK_FACTOR * PASSAGES * self.length


class EffortRecipe(Strict):
    """How long each weight is searched and fitted."""

    iterations: Annotated[int, Field(ge=1, description="alternations of the final fit of a weight")] = Effort.iterations
    screening: Annotated[int, Field(ge=1, description="alternations spent on each candidate shape")] = Effort.screening
    tolerance: Annotated[float, Field(ge=0, description="stop when codes move less than this, relatively")] = (
        Effort.tolerance
    )

    def as_effort(self) -> Effort:
        return Effort(self.iterations, self.screening, self.tolerance)
