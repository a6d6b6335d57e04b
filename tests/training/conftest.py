"""A toy task, a dense model trained on it, and factorizations of that."""

from collections.abc import Callable
from pathlib import Path

import pytest

import dsformer
from dsformer.data.supervised import load_task
from dsformer.models.source import open_source
from dsformer.recipe import Recipe
from dsformer.training.data import TrainingData, of_task
from fixtures.training import QUICK, reviews, write_base, write_sentence_encoder, write_task, write_texts


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a head."""
    return write_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_encoder(tmp_path_factory.mktemp("models") / "sentences")


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("tasks") / "reviews.csv")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "reviews.txt")


@pytest.fixture(scope="session")
def teacher(base: Path, task_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned the task."""
    output = tmp_path_factory.mktemp("models") / "teacher"
    learning = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-3, "train_embeddings": True, "bf16": False}
    dsformer.finetune(base, output, task=str(task_file), **learning)
    return output


@pytest.fixture(scope="session")
def factorized(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The teacher's factorization of a pattern."""
    made: dict[str, Path] = {}

    def of(pattern: str) -> Path:
        if pattern not in made:
            made[pattern] = tmp_path_factory.mktemp("factorized") / "model"
            texts = [text for text, _ in reviews(64)]
            dsformer.compress(teacher, made[pattern], pattern=pattern, texts=texts, **QUICK)
        return made[pattern]

    return of


@pytest.fixture(scope="session")
def data(task_file: Path, teacher: Path) -> TrainingData:
    """What of the task is trained on."""
    settings = Recipe(training={"task": str(task_file), "examples": 256}).training
    source = open_source(teacher)
    return of_task(load_task(str(task_file)), settings, source.tokenizer, source.model)
