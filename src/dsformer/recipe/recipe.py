"""The schema behind Python arguments, YAML recipes and command-line flags."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from dsformer.calibration.config import CalibrationConfig
from dsformer.errors import InputError
from dsformer.factorization.config import EffortConfig
from dsformer.factorization.methods import METHODS
from dsformer.format.pattern import Pattern
from dsformer.format.precision import FACTORS, Precision
from dsformer.recipe.stage_order import STAGES, validate_order
from dsformer.training.config import LearningConfig, TrainingConfig
from dsformer.training.learners import DEFAULT_LEARNER, LEARNERS
from dsformer.utils.atomic_io import user_path
from dsformer.utils.config import StrictModel, UserPath


class Recipe(StrictModel):
    """How to compress a model."""

    ratio: Annotated[float, Field(gt=1, description="stored bytes before / after, everything counted")] = 2.8
    scope: Annotated[
        Literal["encoder", "all"],
        Field(
            description="what the ratio is of: the compressed linear layers, or the whole file (embeddings included)"
        ),
    ] = "encoder"
    method: Annotated[str, Field(description=f"one of {', '.join(METHODS)}")] = "dense_sparse"
    pattern: Annotated[str, Field(description="constraint on supports: free, grouped(g), n:m or banked(b)")] = "free"
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
    factors: Annotated[
        Literal["float", "int8", "int8+int4", "int4"],
        Field(
            description="type of dictionaries and codes: that of the other values, or integers with a scale for "
            "every row (int8+int4: int4 codes); the ratio is then of a dense model's weights in the same type, of two "
            "the narrower"
        ),
    ] = "float"
    share_dictionaries: Annotated[
        bool,
        Field(
            description="let blocks of the same role in two neighbouring layers share one dictionary where that lowers "
            "the error"
        ),
    ] = False
    vocabulary: Annotated[
        UserPath | None,
        Field(
            description="texts of the kind the model is for, as of calibration: tokens they do not have are taken out "
            "first, which these texts do not notice"
        ),
    ] = None
    steps: Annotated[
        tuple[str, ...],
        Field(
            description=f"the steps in their order, as the other fields ask for them (which is what is done without a "
            f"list): {', '.join(STAGES)}"
        ),
    ] = ()
    include: Annotated[
        tuple[str, ...], Field(description="glob patterns of the modules to compress (default: all that can be)")
    ] = ()
    exclude: Annotated[tuple[str, ...], Field(description="glob patterns of the modules to leave dense")] = ()
    trust_remote_code: Annotated[
        bool, Field(description="run Python code that comes with the model; off: such a model is refused")
    ] = False
    ridge: Annotated[
        float, Field(gt=0, le=1e3, description="ridge added to every Gram matrix, relative to its mean diagonal")
    ] = 1e-3
    calibration: CalibrationConfig = CalibrationConfig()
    effort: EffortConfig = EffortConfig()
    training: TrainingConfig = TrainingConfig()

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

    @model_validator(mode="after")
    def _fits_the_method(self) -> "Recipe":
        reason = METHODS[self.method].refuses(Pattern.parse(self.pattern))
        if reason:
            raise ValueError(f"pattern: method {self.method} {reason}")
        if METHODS[self.method].quantizes and self.factors != "float":
            raise ValueError(f"factors: method {self.method} chooses the type of values by the ratio")
        if METHODS[self.method].quantizes and self.training.train != "none":
            raise ValueError(f"training: method {self.method} gives integers, which cannot be trained")
        if METHODS[self.method].structured:
            self._fits_structured()
        if METHODS[self.method].sparse_dictionary:
            self._fits_sparse_dictionary()
        self._fits_rounding()
        self._fits_sharing()
        if self.steps and (reason := validate_order(self.steps, self.requested_stages)):
            raise ValueError(f"steps: {reason}")
        self._fits_learner()
        return self

    def _fits_learner(self) -> None:
        if self.training.start and not self.trains_weights:
            able = [name for name, kind in LEARNERS.items() if kind.latent]
            raise ValueError(
                f"training: start goes with train {' or '.join(able)} and a method that prunes, free or n:m"
            )
        learner = LEARNERS.get(self.training.learner)
        if learner is not None and learner.prunes and not (METHODS[self.method].prunes and self.pattern == "free"):
            pruning = [name for name, method in METHODS.items() if method.prunes]
            raise ValueError(
                f"training: {self.training.train} learns which weights stay: method one of {', '.join(pruning)}, free"
            )

    def _fits_rounding(self) -> None:
        if not self.training.rounding_aware:
            return
        if self.factors == "float" or self.training.train == "none":
            raise ValueError("training: rounding_aware needs int8 or int4 factors, and something to train on")
        if not LEARNERS[self.training.learner].quantizes:
            able = [name for name, kind in LEARNERS.items() if kind.quantizes]
            raise ValueError(f"training: rounding_aware goes with {', '.join(able)}, not {self.training.learner}")

    def _fits_sharing(self) -> None:
        if not self.share_dictionaries:
            return
        if not METHODS[self.method].shares_dictionaries or self.pattern != "free":
            able = [name for name, method in METHODS.items() if method.shares_dictionaries]
            raise ValueError(f"share_dictionaries: goes with method {' or '.join(able)} and pattern free")
        if others := self._instead_of_projecting:
            raise ValueError(f"share_dictionaries: train one of {others}, not {self.training.train}")

    @property
    def _instead_of_projecting(self) -> str:
        """Learners to use instead, if the recipe's learner projects; empty if it does not."""
        learner = LEARNERS.get(self.training.learner)
        if learner is None or not learner.projects:
            return ""
        return ", ".join(name for name, kind in LEARNERS.items() if not (kind.projects or kind.prunes))

    def _has_no_tables(self) -> None:
        if self.with_embeddings:
            raise ValueError(f"embeddings: method {self.method} has no form of a table (scope all: embeddings false)")

    def _fits_sparse_dictionary(self) -> None:
        self._has_no_tables()
        if others := self._instead_of_projecting:
            raise ValueError(f"training: method {self.method} trains with {others}, not {self.training.train}")

    def _fits_structured(self) -> None:
        self._has_no_tables()
        if self.training.train not in ("none", "distill", DEFAULT_LEARNER):
            raise ValueError(f"training: method {self.method} has no supports to learn; train {DEFAULT_LEARNER}")

    @property
    def trains_weights(self) -> bool:
        """Whether dense weights are trained, of which the learner keeps some."""
        # Rows of groups and tiles are reordered, and those of the dense weight are not.
        pattern = Pattern.parse(self.pattern)
        prunes = METHODS[self.method].prunes and pattern.group == 1 and not pattern.bank
        return prunes and self.training.train != "none" and LEARNERS[self.training.learner].latent

    @property
    def learning(self) -> LearningConfig:
        """The settings that the learner gets."""
        return LearningConfig(
            self.training, self.calibration, self.ridge, FACTORS.get(self.factors), self.trains_weights
        )

    @property
    def with_embeddings(self) -> bool:
        """Whether embedding tables are factorized."""
        return self.scope == "all" if self.embeddings is None else self.embeddings

    @property
    def fitted_precision(self) -> Precision | None:
        """What factors are quantized to as soon as they are fitted; None: only after training, or never."""
        return FACTORS.get(self.factors) if self.training.train == "none" else None

    @property
    def requested_stages(self) -> tuple[str, ...]:
        """The stages that the fields ask for, in their order."""
        trains = self.training.train != "none"
        requested = {
            "vocabulary": self.vocabulary is not None,
            "finetune": trains and self.training.task is not None,
            "factorize": True,
            "train": trains,
            "round": self.factors != "float",
        }
        return tuple(name for name in STAGES if requested[name])

    @property
    def sequence(self) -> tuple[str, ...]:
        """The stages of the run, in their order."""
        return self.steps or self.requested_stages

    def merged(self, changes: dict[str, Any]) -> "Recipe":
        """Return this recipe with some fields replaced; a dict replaces only the fields of a nested part that it has.

        Raises:
            InputError: a field is unknown or wrong; the message names it.
        """
        base = self.model_dump()
        for key, value in changes.items():
            base[key] = {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        return read_recipe(base)


def read_recipe(fields: dict[str, Any]) -> Recipe:
    """Validate a recipe given as plain data.

    Raises:
        InputError: names the first wrong field in one line.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ").removeprefix(f"{where}: ")
        raise InputError(": ".join(filter(None, ("recipe", where, reason)))) from None


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file.

    Raises:
        InputError: no such file, not YAML, not a mapping, or a field is unknown or wrong.
    """
    try:
        fields = yaml.safe_load(user_path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(fields, dict):
        raise InputError(f"recipe {path}: expected a mapping of fields such as 'ratio: 2.8'")
    return read_recipe(fields)
