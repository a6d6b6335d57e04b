"""Settings of calibration: the text, its length, and how tokens are weighted."""

from typing import Annotated, Literal

from pydantic import Field

from dsformer.utils.config import StrictModel, UserPath

# Tokens of training text used to calibrate, relative to the tokens of all full passages used without training. Task
# text is less varied, and more depends on it (MiniLM on CoLA at 3.57x: divergence from the dense model 0.050 with a
# thousand sentences, 0.043 with all eight thousand).
TASK_FACTOR = 4


# Passages of plain text, unless the recipe gives a number.
PASSAGES = 256


class CalibrationConfig(StrictModel):
    """Which text runs through the model to measure the inputs of its layers."""

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
        """The greatest number of passages of plain text."""
        return PASSAGES if self.count is None else self.count

    @property
    def task_tokens(self) -> int:
        """Tokens of a task's text to use, where neither calibration text nor a count is given."""
        return TASK_FACTOR * PASSAGES * self.length
