"""Tokenized training data of a task or of plain text, and the texts of it to calibrate on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import DataCollatorWithPadding, PreTrainedModel

from dsformer.calibration.config import CalibrationConfig
from dsformer.data.calibration_text import read_texts
from dsformer.data.reading import file_kind
from dsformer.data.subset import even_indices
from dsformer.data.supervised import (
    Collator,
    Columns,
    SupervisedTask,
    collator,
    encode,
    list_texts,
    load_task,
)
from dsformer.data.text import Text
from dsformer.errors import InputError
from dsformer.models.inputs import longest_input, set_padding_token
from dsformer.training.config import TrainingConfig

# Greatest length of a passage of plain text, in tokens.
TEXT_LENGTH = 128
_FILES = (".csv", ".tsv", ".jsonl", ".parquet", ".gz")


@dataclass(frozen=True)
class TrainingData:
    """Features to train on.

    Attributes:
        features: the model's inputs, an example each.
        collate: makes batches of them.
        texts: the plain texts, or pairs of them, for calibration.
    """

    features: Sequence[dict[str, Any]]
    collate: Collator
    texts: list[Text]

    def sample(self, how: CalibrationConfig) -> list[Text]:
        """Select calibration texts, evenly from the whole data: as many as the recipe asks for, or has tokens for."""
        each = sum(len(one["input_ids"]) for one in self.features) / max(1, len(self.features))
        count = max(1, round(how.task_tokens / max(1.0, each))) if how.count is None else how.count
        return [self.texts[i] for i in even_indices(len(self.texts), count)]


def load_training_task(settings: TrainingConfig, data_dir: Path | None) -> SupervisedTask:
    """Load the recipe's task.

    Raises:
        InputError: the task does not exist, or has no training data.
    """
    assert settings.task is not None
    columns = None
    if settings.task.endswith(_FILES):
        columns = Columns(
            settings.text_column,
            settings.pair_column,
            settings.label_column,
            settings.evaluation_file,
            settings.task_kind,
        )
    task = load_task(settings.task, data_dir, columns=columns)
    if task.train is None:
        raise InputError(f"task {task.name}: has no training data here, only data to score on")
    return task


def tokenize_task(
    task: SupervisedTask, settings: TrainingConfig, tokenizer: Any, model: PreTrainedModel
) -> TrainingData:
    """Tokenize the training part of a task, truncated to what the model takes.

    Args:
        task: a task with training data.
        settings: which of its examples, and their greatest length.
        tokenizer: the model's.
        model: the model to train.
    """
    assert task.train is not None
    set_padding_token(model, tokenizer)
    examples = task.train.take(settings.examples, seed=0)
    length = min(settings.length or task.length, longest_input(model))
    return TrainingData(encode(task, examples, tokenizer, length), collator(task, tokenizer), list_texts(examples))


def tokenize_text(settings: TrainingConfig, tokenizer: Any, model: PreTrainedModel) -> TrainingData:
    """Tokenize plain text, truncated to what the model takes.

    Args:
        settings: the file, its column, how many passages, and their greatest length.
        tokenizer: the model's.
        model: the model to train.
    """
    assert settings.text is not None
    column = None if file_kind(settings.text) == ".txt" else settings.text_column
    texts = read_texts(settings.text, column)[: settings.examples]
    length = min(settings.length or TEXT_LENGTH, longest_input(model))
    columns = tokenizer(texts, truncation=True, max_length=length)
    features = [dict(zip(columns.keys(), row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return TrainingData(features, DataCollatorWithPadding(tokenizer), list(texts))


def sample_training_text(
    settings: TrainingConfig,
    calibration: CalibrationConfig,
    data_dir: Path | None,
    tokenizer: Any,
    model: PreTrainedModel,
) -> list[Text] | None:
    """Select calibration texts from the recipe's task, or from its text to distil on.

    Args:
        settings: of training.
        calibration: how many texts, and whether calibration has a text file.
        data_dir: folder of data sets.
        tokenizer: the model's.
        model: the model to train.

    Returns:
        The texts; None where the recipe has neither a task nor a text, or calibration has its own text.

    Raises:
        InputError: the task or the text does not exist, or has no training data.
    """
    if calibration.text is not None or (settings.task is None and settings.text is None):
        return None
    if settings.task is None or settings.train == "distill":
        return tokenize_text(settings, tokenizer, model).sample(calibration)
    return tokenize_task(load_training_task(settings, data_dir), settings, tokenizer, model).sample(calibration)
