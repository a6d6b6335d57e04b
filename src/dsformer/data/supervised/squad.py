"""SQuAD: find the answer to a question in a paragraph (Rajpurkar et al. 2016), or that there is none (2018)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsformer.data.reading import open_text
from dsformer.data.sources import find_file, find_local, find_optional
from dsformer.data.supervised.hub import HubSource, hub_column, load_hub
from dsformer.data.supervised.targets import filled
from dsformer.data.supervised.task import Examples, SupervisedTask
from dsformer.errors import InputError

FOLDER = "squad"


@dataclass(frozen=True)
class _Version:
    """File names and hub repository of a version of the data set."""

    train: tuple[str, ...]
    evaluation: tuple[str, ...]
    repository: str


VERSIONS: Mapping[str, _Version] = {
    "squad": _Version(
        ("train-v1.1.json", "squad-train-v1.1-first-12-articles.json"),
        ("dev-v1.1.json", "squad-dev-v1.1.json"),
        "rajpurkar/squad",
    ),
    "squad_v2": _Version(("train-v2.0.json",), ("dev-v2.0.json", "squad-dev-v2.0.json"), "rajpurkar/squad_v2"),
}


def load(name: str, data_dir: Path | None = None) -> SupervisedTask:
    """Read version 1.1 ("squad") or 2.0 ("squad_v2") from the folder `squad`, else from the hub.

    The files are the official JSON files; `evaluation` is the development set. `squad-train-v1.1-first-12-articles` is
    a part of the training set (4,370 questions), which is read if the whole is missing.

    Raises:
        InputError: the evaluation file is missing, a file is not in SQuAD's format, or the hub cannot be reached.
        MissingExtraError: the hub is needed and `datasets` is not installed.
    """
    version = VERSIONS[name]
    folder = find_local(FOLDER, data_dir)
    if folder is None:
        train, evaluation = _from_hub(HubSource(version.repository, FOLDER))
        return SupervisedTask(name, "question_answering", (), train, evaluation, "f1")
    path = find_optional(folder, *version.train)
    evaluation = _read(find_file(folder, *version.evaluation))
    return SupervisedTask(name, "question_answering", (), None if path is None else _read(path), evaluation, "f1")


def _read(path: Path) -> Examples:
    with open_text(path) as file:
        try:
            content = json.load(file)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is not JSON: {error}") from error
    try:
        rows = [
            (item["question"], paragraph["context"], _answers(item), item["id"])
            for article in content["data"]
            for paragraph in article["paragraphs"]
            for item in paragraph["qas"]
        ]
    except KeyError as error:
        raise InputError(f"{path} is not in the format of SQuAD: the key {error} is missing") from error
    except TypeError as error:
        raise InputError(f"{path} is not in the format of SQuAD: {error}") from error
    questions, contexts, answers, ids = zip(*rows, strict=True) if rows else ((), (), (), ())
    return filled(path, Examples(questions, contexts, answers, ids))


def _answers(item: Mapping) -> tuple[tuple[str, int], ...]:
    return tuple((answer["text"], int(answer["answer_start"])) for answer in item["answers"])


def _from_hub(source: HubSource) -> tuple[Examples, Examples]:
    splits = load_hub(source)

    def split(name: str) -> Examples:
        questions, contexts, answers, ids = (
            tuple(hub_column(source, splits, name, column)) for column in ("question", "context", "answers", "id")
        )
        targets = tuple(tuple(zip(answer["text"], answer["answer_start"], strict=True)) for answer in answers)
        return Examples(questions, contexts, targets, ids)

    return split("train"), split("validation")
