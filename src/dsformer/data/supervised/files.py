"""The user's own task: a file with a column of texts and a column of labels."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsformer.data.reading import check_column, file_kind, open_parquet, read_jsonl, read_table
from dsformer.data.supervised.classes import ClassIndex, check_label, class_key, class_names
from dsformer.data.supervised.targets import number, parsed
from dsformer.data.supervised.task import Examples, SupervisedTask, TaskKind
from dsformer.errors import InputError

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
_UNLABELLED = ("masked_lm", "causal_lm")
_METRICS: Mapping[TaskKind, str] = {
    "classification": "accuracy",
    "regression": "spearman",
    "masked_lm": "perplexity",
    "causal_lm": "perplexity",
}

# Of a file without held-out rows a tenth is set aside: the fifth of every ten rows in a random order.
_PARTS, _PART, _SEED = 10, 4, 0


@dataclass(frozen=True)
class Columns:
    """The columns of the user's file.

    Attributes:
        text: the column of the text.
        pair: the column of the second text, if there are two.
        label: the column of the label; not read for language modelling.
        evaluation: a file with the same columns that holds the rows to evaluate on. Without it a tenth of the rows is
            set aside, as evenly over the classes as possible, and always the same rows.
        kind: "classification", "regression", "masked_lm" or "causal_lm". Without it the labels decide: a regression if
            all are numbers and not all of them integers, else a classification.
    """

    text: str = "text"
    pair: str | None = None
    label: str | None = "label"
    evaluation: Path | None = None
    kind: TaskKind | None = None


@dataclass(frozen=True)
class _Row:
    place: str
    text: str
    pair: str | None
    label: Any


def load(path: Path, columns: Columns) -> SupervisedTask:
    """Read the user's task from a file with a column of texts and a column of labels.

    The file is a `.csv`, `.tsv` (unquoted) or `.jsonl` file (objects), each maybe with `.gz`, or a `.parquet` file. The
    classes are the different labels of `path`, sorted (by number if all are integers).

    Raises:
        InputError: a file or column is missing; a text is not text; a label is empty or missing, a list, not a number
            (regression) or not among those of `path` (in the evaluation file); fractions and words are mixed; there are
            fewer than two classes, or fewer than five rows to split; or the kind cannot be read from such a file.
        MissingExtraError: a Parquet file needs pyarrow, which is not installed.
    """
    if columns.kind is not None and columns.kind not in _METRICS:
        raise InputError(f"{path}: a task of the kind {columns.kind!r} cannot be read; kinds: {', '.join(_METRICS)}")
    if columns.label is None and columns.kind not in _UNLABELLED:
        raise InputError(f"{path}: say which column holds the label")
    rows = _read(path, columns)
    kind = columns.kind or _infer_kind(rows)
    labels = _classes(path, rows) if kind == "classification" else ()
    train = _examples(rows, kind, labels, columns)
    if columns.evaluation is None:
        train, evaluation = _set_aside(path, train, kind)
    else:
        evaluation = _examples(_read(columns.evaluation, columns), kind, labels, columns)
    scored = None if columns.evaluation is None else columns.evaluation.name
    return SupervisedTask(path.name, kind, labels, train, evaluation, _METRICS[kind], scored=scored)


def _read(path: Path, columns: Columns) -> list[_Row]:
    rows = list(_rows(path, columns))
    if not rows:
        raise InputError(f"{path} holds no rows")
    return rows


def _rows(path: Path, columns: Columns) -> Iterator[_Row]:
    label = None if columns.kind in _UNLABELLED else columns.label
    names = [name for name in (columns.text, columns.pair, label) if name is not None]
    for place, cells in _cells(path, names):
        row = dict(zip(names, cells, strict=True))
        if label is not None:
            check_label(row[label], place)
        pair = None if columns.pair is None else _text(row, columns.pair, place)
        yield _Row(place, _text(row, columns.text, place), pair, None if label is None else row[label])


def _text(row: Mapping[str, Any], name: str, place: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise InputError(f"{place}: {name!r} must be text, not {type(value).__name__}")
    return value


def _cells(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the place of every row, for messages, and its values in the named columns."""
    kind = file_kind(path)
    if kind in (".csv", ".tsv"):
        table = read_table(path, tabs=kind == ".tsv")
        for line, *cells in zip(table.lines, *map(table.column, names), strict=True):
            yield f"{path}, line {line}", cells
    elif kind == ".jsonl":
        for index, value in enumerate(read_jsonl(path), 1):
            if not isinstance(value, dict):
                raise InputError(f"{path}, value {index}: expected an object, not {type(value).__name__}")
            for name in names:
                check_column(path, list(value), name)
            yield f"{path}, value {index}", [value[name] for name in names]
    elif kind == ".parquet":
        with open_parquet(path) as file:
            for name in names:
                check_column(path, file.schema_arrow.names, name)
            found = file.read(columns=list(dict.fromkeys(names)))
        for index, row in enumerate(found.to_pylist(), 1):
            yield f"{path}, row {index}", [row[name] for name in names]
    else:
        raise InputError(f"{path}: a task is read from {', '.join(FORMATS)} (the first three may be followed by .gz)")


def _infer_kind(rows: Sequence[_Row]) -> TaskKind:
    """Return the kind of a task by its labels: a regression if all are numbers and some are fractions."""
    numbers = [parsed(row.label) for row in rows]
    if all(value is None or value.is_integer() for value in numbers):
        return "classification"
    for row, value in zip(rows, numbers, strict=True):
        if value is None:
            raise InputError(
                f"{row.place}: the label {row.label!r} is no number, and others are fractions; say whether they are "
                "classes or numbers: task_kind classification or regression (--task-kind)"
            )
    return "regression"


def _classes(path: Path, rows: Sequence[_Row]) -> tuple[str, ...]:
    names = class_names(row.label for row in rows)
    if len(names) < 2:
        raise InputError(f"{path}: a classification needs at least two different labels, not {len(names)}")
    if {"true", "false"} & set(map(class_key, names)) and {"0", "1"} & set(map(class_key, names)):
        raise InputError(f"{path}: its labels are truth values and numbers mixed: {', '.join(names)}")
    return names


def _examples(rows: Sequence[_Row], kind: TaskKind, labels: Sequence[str], columns: Columns) -> Examples:
    targets: tuple[Any, ...] = ()
    if kind == "classification":
        known = ClassIndex(labels)
        targets = tuple(known.index(row.label, row.place) for row in rows)
    elif kind == "regression":
        targets = tuple(number(row.label, row.place) for row in rows)
    pairs = None if columns.pair is None else tuple(str(row.pair) for row in rows)
    return Examples(tuple(row.text for row in rows), pairs, targets)


def _set_aside(path: Path, examples: Examples, kind: TaskKind) -> tuple[Examples, Examples]:
    """Split the examples into those to train on and those to evaluate on."""
    if len(examples) <= _PART:
        raise InputError(f"{path} holds {len(examples)} rows, too few to set some aside: name a file to evaluate on")
    order = random.Random(_SEED).sample(range(len(examples)), len(examples))
    if kind == "classification":
        order.sort(key=lambda index: examples.targets[index])
    held = set(order[_PART::_PARTS])
    kept = [index for index in range(len(examples)) if index not in held]
    return examples.select(kept), examples.select(sorted(held))
