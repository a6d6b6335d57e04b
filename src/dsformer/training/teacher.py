"""The teacher: the dense model that a compressed one is distilled from."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from dsformer.models.pooling import Pooling


@dataclass(frozen=True)
class Teacher:
    """The dense model that a compressed one was made from.

    Attributes:
        model: the dense model.
        tokenizer: its tokenizer.
        pooling: how it computes sentence embeddings, for a sentence encoder.
        untrained: the model before it was trained on the task, for a learner that starts from its weights.
    """

    model: PreTrainedModel
    tokenizer: Any
    pooling: Pooling | None = None
    untrained: PreTrainedModel | None = None
