"""Settings of training: data, learner, distillation and optimizer."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dsformer.calibration.config import CalibrationConfig
from dsformer.format.precision import Precision
from dsformer.training.distillation import TERMS
from dsformer.training.learners import DEFAULT_LEARNER, LEARNERS
from dsformer.utils.config import StrictModel, UserPath


class TrainingConfig(StrictModel):
    """How the factors are trained, on a task or on plain text."""

    train: Annotated[
        str,
        Field(
            description=f"learn the factorizations: one of {', '.join(LEARNERS)}; distill is {DEFAULT_LEARNER} without "
            "labels, on --text; none stops after the factorization"
        ),
    ] = "none"
    task: Annotated[str | None, Field(description="a task by name, or a file with columns of text and labels")] = None
    text: Annotated[UserPath | None, Field(description="plain text to distil on, for sentence encoders")] = None
    text_column: Annotated[str, Field(description="column of the text, in a file of yours")] = "text"
    pair_column: Annotated[str | None, Field(description="column of the second text")] = None
    label_column: Annotated[str, Field(description="column of the label")] = "label"
    evaluation_file: Annotated[UserPath | None, Field(description="file of rows to score on (default: a tenth)")] = None
    task_kind: Annotated[
        Literal["classification", "regression", "masked_lm", "causal_lm"] | None,
        Field(description="what a file of yours is about (default: its labels decide)"),
    ] = None
    start: Annotated[
        str | None,
        Field(
            description="movement, platon, or codes of a method that prunes: the model as it was before it learned the "
            "task, to be pruned while it does (default: MODEL, if it has no head for the task yet)"
        ),
    ] = None
    distill: Annotated[
        str, Field(description=f"terms of distillation from the dense model, joined by +: {', '.join(TERMS)}; or none")
    ] = "logits+hidden"
    distill_weight: Annotated[float, Field(ge=0, le=1, description="weight of distillation against the labels")] = 0.9
    temperature: Annotated[float, Field(gt=0, description="of the logits that are distilled")] = 2.0
    epochs: Annotated[float, Field(gt=0, description="passes over the training data")] = 3.0
    examples: Annotated[int | None, Field(ge=1, description="train on so many examples (default: all)")] = None
    batch_size: Annotated[int, Field(ge=1, description="examples of a training batch")] = 32
    accumulate: Annotated[int, Field(ge=1, description="batches of an optimizer step")] = 1
    learning_rate: Annotated[float, Field(gt=0, description="peak rate of biases and norms, and of a dense model")] = (
        5e-5
    )
    factor_rate: Annotated[float, Field(gt=0, description="rate of dictionaries and codes, in units of the rate")] = 2.0
    warmup: Annotated[float, Field(ge=0, lt=1, description="part of the steps in which the rate rises")] = 0.06
    length: Annotated[
        int | None, Field(ge=8, description="longest text, in tokens (default: 128, 384 for question answering)")
    ] = None
    seed: Annotated[int, Field(ge=0, description="of the order of examples, dropout and a new head")] = 0
    bf16: Annotated[bool | None, Field(description="train under bf16 autocast (default: where it is fast)")] = None
    dropout: Annotated[bool, Field(description="keep the dropout of the model while factorizations are learned")] = (
        False
    )
    train_embeddings: Annotated[bool, Field(description="train embedding tables too")] = False
    ramp: Annotated[float, Field(ge=1, description="stf: non-zeros at the start, in units of those at the end")] = 1.5
    ramp_until: Annotated[float, Field(gt=0, le=1, description="stf: part of the steps after which supports stay")] = (
        0.5
    )
    projections: Annotated[int, Field(ge=1, description="stf: projections until then")] = 6
    pursuit_steps: Annotated[int, Field(ge=1, description="stf: pursuit steps of a projection")] = 2
    latent_rate: Annotated[
        float, Field(ge=0, description="stf: straight-through step of the latent weights, by the gradient's own size")
    ] = 0.0
    rounding_aware: Annotated[
        bool, Field(description="with int8 or int4 factors: train them quantized (quantization-aware training)")
    ] = False
    save_steps: Annotated[int | None, Field(ge=1, description="steps between checkpoints (default: a quarter)")] = None
    report_to: Annotated[str, Field(description="where transformers' Trainer reports to, such as tensorboard")] = "none"

    @field_validator("train")
    @classmethod
    def _known_learner(cls, value: str) -> str:
        known = ("none", "distill", *LEARNERS)
        if value not in known:
            raise ValueError(f"{value!r} is not one of {', '.join(known)}")
        return value

    @field_validator("distill")
    @classmethod
    def _known_terms(cls, value: str) -> str:
        unknown = [term for term in value.split("+") if term not in TERMS] if value != "none" else []
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(TERMS)}, none")
        return value

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "TrainingConfig":
        if self.train == "distill" and self.text is None:
            raise ValueError("train distill needs plain text: text")
        if self.train not in ("none", "distill") and self.task is None:
            raise ValueError(f"train {self.train} needs a task: task")
        return self

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the distillation terms; empty for none."""
        if self.train == "distill":
            return ("embeddings", "hidden")
        return () if self.distill == "none" else tuple(self.distill.split("+"))

    @property
    def learner(self) -> str:
        """The learner's name in ``LEARNERS``, or ``none``."""
        return DEFAULT_LEARNER if self.train == "distill" else self.train


@dataclass(frozen=True)
class LearningConfig:
    """Everything that training the factors of a compressed model depends on.

    Attributes:
        training: data, learner, optimizer.
        calibration: how the metrics of learners that project are measured.
        ridge: added to second moments of inputs, relative to their mean diagonal.
        precision: what factors are quantized to after training; None: they stay floating-point.
        trains_weights: the learner trains dense weights and chooses which of them to keep.
    """

    training: TrainingConfig
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    ridge: float = 1e-3
    precision: Precision | None = None
    trains_weights: bool = False
