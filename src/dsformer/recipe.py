"""The one schema behind the Python arguments, the YAML recipe and the command-line flags."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dsformer.errors import InputError
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.pattern import Pattern
from dsformer.factorization.search import METHODS


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationRecipe(_Strict):
    """Which text runs through the model to learn what its layers' inputs look like."""

    text: Annotated[
        Path | None, Field(description="calibration text: .txt (a passage a line), .csv, .tsv, .jsonl, .parquet")
    ] = None
    column: Annotated[str | None, Field(description="column of the calibration file that holds the text")] = None
    count: Annotated[int, Field(ge=1, description="calibration passages")] = 256
    length: Annotated[int, Field(ge=2, description="longest calibration passage, in tokens")] = 128
    batch_size: Annotated[int, Field(ge=1, description="passages run through the model at once")] = 16


class EffortRecipe(_Strict):
    """How long each weight is searched and fitted."""

    iterations: Annotated[int, Field(ge=1, description="alternations of the final fit of a weight")] = Effort.iterations
    screening: Annotated[int, Field(ge=1, description="alternations spent on each candidate shape")] = Effort.screening
    tolerance: Annotated[float, Field(ge=0, description="stop when codes move less than this, relatively")] = (
        Effort.tolerance
    )

    def as_effort(self) -> Effort:
        return Effort(self.iterations, self.screening, self.tolerance)


class Recipe(_Strict):
    """How to compress a model."""

    ratio: Annotated[float, Field(gt=1, description="stored bytes before / after, everything counted")] = 2.8
    scope: Annotated[
        Literal["encoder", "all"],
        Field(
            description="what the ratio is of: the compressed linear layers, or the whole file (embeddings included)"
        ),
    ] = "encoder"
    method: Annotated[str, Field(description=f"one of {', '.join(METHODS)}")] = "dense_sparse"
    pattern: Annotated[str, Field(description="constraint on supports: free, grouped(g) or n:m")] = "free"
    allocation: Annotated[
        Literal["balanced", "uniform"],
        Field(description="who gets how many bits: least total error, or the same ratio everywhere"),
    ] = "balanced"
    embeddings: Annotated[
        bool | None, Field(description="factorize embedding tables too (default: only with scope all)")
    ] = None
    dtype: Annotated[
        Literal["keep", "float32", "bfloat16", "float16"],
        Field(description="type of the stored values; its factor is reported apart from the ratio"),
    ] = "keep"
    include: Annotated[
        tuple[str, ...], Field(description="glob patterns of the modules to compress (default: all that can be)")
    ] = ()
    exclude: Annotated[tuple[str, ...], Field(description="glob patterns of the modules to leave dense")] = ()
    ridge: Annotated[
        float, Field(gt=0, description="ridge added to every Gram matrix, relative to its mean diagonal")
    ] = 1e-3
    calibration: CalibrationRecipe = CalibrationRecipe()
    effort: EffortRecipe = EffortRecipe()

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value not in METHODS:
            raise ValueError(f"{value!r} is not one of {', '.join(METHODS)}")
        return value

    @field_validator("pattern")
    @classmethod
    def _known_pattern(cls, value: str) -> str:
        return str(Pattern.parse(value))

    @property
    def with_embeddings(self) -> bool:
        return self.scope == "all" if self.embeddings is None else self.embeddings

    def merged(self, changes: dict[str, Any]) -> "Recipe":
        """This recipe with some fields replaced; nested ones by dicts. Raises InputError naming the field."""
        base = self.model_dump()
        for key, value in changes.items():
            base[key] = {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        return read_recipe(base)


def read_recipe(fields: dict[str, Any]) -> Recipe:
    """Validate a recipe given as plain data. Raises InputError with the first wrong field in one line."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ").removeprefix(f"{where}: ")
        raise InputError(f"recipe: {where}: {reason}") from None


def load_recipe(path: Path) -> Recipe:
    """Read a YAML recipe.

    Raises:
        InputError: no such file, not YAML, not a mapping, or a field is unknown or wrong.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(fields, dict):
        raise InputError(f"recipe {path}: expected a mapping of fields such as 'ratio: 2.8'")
    return read_recipe(fields)
