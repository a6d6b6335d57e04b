"""The tasks of GLUE (Wang et al. 2019): classification of sentences and pairs, and the similarity scores of STS-B."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsformer.data.reading import Table, check_column, read_table
from dsformer.data.sources import find_file, find_local, find_optional
from dsformer.data.stsb import read_pairs
from dsformer.data.supervised.hub import HubSource, hub_column, load_hub
from dsformer.data.supervised.targets import class_index, filled, number
from dsformer.data.supervised.task import Examples, SupervisedTask, TaskKind

_REPOSITORY = "nyu-mll/glue"
_ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True)
class _Layout:
    """The layout of the files of a task.

    Several column or file names are alternatives, of which the first that exists is read. A column's first name is that
    of GLUE; `hub` holds the names on the hub (text, second text). A task without labels is a regression.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] = ()
    hub: tuple[str, ...] = ("sentence1", "sentence2")
    label: str = "label"
    labels: tuple[str, ...] = ()
    metric: str = "accuracy"
    train: tuple[str, ...] = ("train.tsv",)
    evaluation: tuple[str, ...] = ("dev.tsv",)
    held_out: tuple[str, ...] = ()
    hub_evaluation: str = "validation"
    hub_held_out: str | None = None
    header: tuple[str, ...] | None = None
    skip_broken: bool = False


LAYOUTS: Mapping[str, _Layout] = {
    "cola": _Layout(
        ("sentence",),
        hub=("sentence",),
        labels=("unacceptable", "acceptable"),
        metric="matthews",
        header=("source", "label", "mark", "sentence"),
    ),
    "sst2": _Layout(
        ("sentence", "content"),
        hub=("sentence",),
        labels=("negative", "positive"),
        train=("train.tsv", "label-first/train.tsv"),
        held_out=("label-first/test.tsv",),
    ),
    "mrpc": _Layout(
        ("#1 String",),
        ("#2 String",),
        label="Quality",
        labels=("not_equivalent", "equivalent"),
        metric="f1",
        train=("train.tsv", "mrpc-glue-train.tsv"),
        evaluation=("dev.tsv", "mrpc-glue-dev.tsv"),
        held_out=("msr_paraphrase_test.txt",),
        hub_held_out="test",
    ),
    "stsb": _Layout(
        ("sentence1",),
        ("sentence2",),
        label="score",
        metric="spearman",
        train=("train.tsv", "original/sts-train.csv", "sts-train.csv"),
        evaluation=("dev.tsv", "original/sts-dev.csv", "sts-dev.csv"),
        held_out=("original/sts-test.csv", "sts-test.csv"),
    ),
    # Some rows of the official files lack cells; the hub's copy omits them too.
    "qqp": _Layout(
        ("question1",),
        ("question2",),
        hub=("question1", "question2"),
        label="is_duplicate",
        labels=("not_duplicate", "duplicate"),
        metric="f1",
        skip_broken=True,
    ),
    "mnli": _Layout(
        ("sentence1", "premise"),
        ("sentence2", "hypothesis"),
        hub=("premise", "hypothesis"),
        label="gold_label",
        labels=("entailment", "neutral", "contradiction"),
        evaluation=("dev_matched.tsv", "mnli_development_set_number_of_correct_responses.txt"),
        hub_evaluation="validation_matched",
    ),
    "qnli": _Layout(("question",), ("sentence",), hub=("question", "sentence"), labels=_ENTAILMENT),
    "rte": _Layout(("sentence1",), ("sentence2",), labels=_ENTAILMENT),
    "wnli": _Layout(
        ("sentence1",), ("sentence2",), labels=("not_entailment", "entailment"), train=("wnli-train.tsv", "train.tsv")
    ),
}


def load(name: str, data_dir: Path | None = None) -> SupervisedTask:
    """Read a task from the folder `glue-<name>`, else from the hub (nyu-mll/glue).

    The files are those of GLUE's archives, separated by tabs and unquoted. For MRPC, STS-B, SST-2 and MNLI the files of
    their authors are read too. `evaluation` is GLUE's development set (of MNLI the matched one), since the labels of
    its test sets are secret. `held_out` is the labelled test set of the original data of MRPC, STS-B and SST-2.

    Raises:
        InputError: the evaluation file or a column is missing, a label is unknown, a score is not a number, or the hub
            cannot be reached.
        MissingExtraError: the hub is needed and `datasets` is not installed.
    """
    layout = LAYOUTS[name]
    folder = find_local(f"glue-{name}", data_dir)
    train: Examples | None
    if folder is None:
        train, evaluation, held_out = _from_hub(name, layout)
    else:
        evaluation = _read(find_file(folder, *layout.evaluation), layout)
        train = _read_optional(folder, layout.train, layout)
        held_out = _read_optional(folder, layout.held_out, layout)
    kind: TaskKind = "classification" if layout.labels else "regression"
    return SupervisedTask(name, kind, layout.labels, train, evaluation, layout.metric, held_out)


def _read_optional(folder: Path, files: Sequence[str], layout: _Layout) -> Examples | None:
    path = find_optional(folder, *files)
    return None if path is None else _read(path, layout)


def _read(path: Path, layout: _Layout) -> Examples:
    if path.name.startswith("sts-"):
        found = read_pairs(path)
        return Examples(found.first, found.second, found.scores)
    table = read_table(path, tabs=True, header=layout.header, skip_broken=layout.skip_broken)
    texts = tuple(table.column(_present(table, layout.texts)))
    pairs = tuple(table.column(_present(table, layout.pairs))) if layout.pairs else None
    places = (f"{path}, line {line}" for line in table.lines)
    cells = zip(table.column(layout.label), places, strict=True)
    return filled(path, Examples(texts, pairs, tuple(_target(cell, layout, place) for cell, place in cells)))


def _present(table: Table, names: Sequence[str]) -> str:
    present = next((name for name in names if name in table.header), names[0])
    check_column(table.path, table.header, present)
    return present


def _target(cell: str, layout: _Layout, place: str) -> int | float:
    return class_index(cell, layout.labels, place) if layout.labels else number(cell, place)


def _from_hub(name: str, layout: _Layout) -> tuple[Examples, Examples, Examples | None]:
    source = HubSource(_REPOSITORY, f"glue-{name}", name)
    splits = load_hub(source)

    def split(split_name: str) -> Examples:
        columns: list[list[Any]] = [hub_column(source, splits, split_name, column) for column in (*layout.hub, "label")]
        pairs = tuple(columns[1]) if layout.pairs else None
        return Examples(tuple(columns[0]), pairs, tuple(columns[-1]))

    held_out = None if layout.hub_held_out is None else split(layout.hub_held_out)
    return split("train"), split(layout.hub_evaluation), held_out
