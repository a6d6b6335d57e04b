"""The dense model that a compressed one learns from."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from dsformer.models.pooling import Pooling


@dataclass(frozen=True)
class Teacher:
    """The dense model a compressed one was made from.

    Attributes:
        pooling: how it makes sentence embeddings, for a sentence encoder.
        untrained: it before it learned the task, for a learner that begins with its weights.
    """

    model: PreTrainedModel
    tokenizer: Any
    pooling: Pooling | None = None
    untrained: PreTrainedModel | None = None
