"""Rows of results and descriptions of experiments: what the fields are, how they are read, what is refused."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import yaml


class ResultsError(ValueError):
    """Something in the files is wrong; the message is one line."""


@dataclass(frozen=True)
class Interval:
    """A median with its quartiles."""

    middle: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        experiment: name of a file in ``experiments``, without its suffix.
        run: tells the runs of an experiment apart.
        model: the dense model.
        method: as ``dsformer sweep`` writes it (pattern after ``@``, learner after ``+``); ``dense``: the model itself.
        settings: what else tells the run apart, such as the ratio asked for, the type of the factors, batch and tokens.
        tasks: what was scored.
        seeds: of the runs the scores are means of; empty where nothing is drawn.
        ratio: stored bytes of the linear layers before / after, both in the type of the factors.
        ratio_fp32: the same over the linear layers in float32.
        bytes: of the linear layers (``layers``), of all tensors (``tensors``), of the weight file (``file``).
        error: relative error of the weights, mean over blocks.
        scores: by task, times 100; ``divergence`` and ``perplexity`` as they are.
        spread: by task, half the difference between two seeds, or a standard deviation over more.
        dense: scores of the dense model of the same seeds.
        speedup: time of the yardstick / time of the run.
        milliseconds: of one call.
        seconds: of the whole run.
        machine: a name in ``machines.yaml``.
        versions: of torch, transformers and engines.
        commit: at which the row was recorded.
        command: what was run, where it differs from the experiment's.
        note: a reservation about this row alone.
    """

    experiment: str
    run: str
    model: str
    method: str
    settings: dict[str, Any]
    tasks: list[str]
    seeds: list[int]
    ratio: float | None = None
    ratio_fp32: float | None = None
    bytes: dict[str, int] | None = None
    error: float | None = None
    scores: dict[str, float] | None = None
    spread: dict[str, float] | None = None
    dense: dict[str, float] | None = None
    speedup: Interval | None = None
    milliseconds: float | None = None
    seconds: float | None = None
    machine: str | None = None
    versions: dict[str, str] | None = None
    commit: str | None = None
    command: str | None = None
    note: str | None = None

    def line(self) -> str:
        """The row as its file has it."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Experiment:
    """What is run.

    Attributes:
        name: of the file.
        title: of its table.
        question: that it answers.
        command: that prints the rows.
        model: or models.
        tasks: that are scored or timed.
        machine: a name in ``machines.yaml``, where all rows are of one.
        seeds: that are run.
        time: expected, in words; None where nobody wrote it down.
        limits: what the rows do not say, one sentence each.
    """

    name: str
    title: str
    question: str
    command: str
    model: str
    tasks: list[str]
    machine: str | None = None
    seeds: list[int] | None = None
    time: str | None = None
    limits: list[str] | None = None


@dataclass(frozen=True)
class Results:
    """Everything that pages are rendered from."""

    experiments: dict[str, Experiment]
    rows: list[Row]
    machines: dict[str, str]
    blocks: list[dict[str, str]]

    def of(self, experiment: str, **wanted: Any) -> list[Row]:
        """Rows of an experiment; ``wanted`` names fields or settings and their values."""
        if experiment not in self.experiments:
            raise ResultsError(f"a page asks for the experiment {experiment!r}, which does not exist")
        rows = [row for row in self.rows if row.experiment == experiment]
        return [row for row in rows if all(value_of(row, name) == value for name, value in wanted.items())]

    def run(self, experiment: str, run: str) -> Row:
        """One row."""
        for row in self.of(experiment):
            if row.run == run:
                return row
        raise ResultsError(f"{experiment} has no run {run!r}")


def value_of(row: Row, name: str) -> Any:
    """A field, or a setting, of a row; None where it has neither."""
    return getattr(row, name) if hasattr(row, name) else row.settings.get(name)


def read(experiments: Path, results: Path) -> Results:
    """Read and check everything.

    Raises:
        ResultsError: for a row of an unknown experiment or machine, an unknown or missing field, a value of another
            type, or a run that is there twice.
    """
    known = {path.stem: _experiment(path) for path in sorted(experiments.glob("*.yaml"))}
    machines = yaml.safe_load((results / "machines.yaml").read_text(encoding="utf-8"))
    rows = [row for path in sorted(results.glob("*.jsonl")) for row in read_rows(path)]
    seen: set[tuple[str, str]] = set()
    for row in rows:
        where = f"{row.experiment}/{row.run}"
        if row.experiment not in known:
            raise ResultsError(f"{where}: there is no experiments/{row.experiment}.yaml")
        if row.machine is not None and row.machine not in machines:
            raise ResultsError(f"{where}: machines.yaml does not have {row.machine!r}")
        if (row.experiment, row.run) in seen:
            raise ResultsError(f"{where} is there twice")
        seen.add((row.experiment, row.run))
    for experiment in known.values():
        if experiment.machine is not None and experiment.machine not in machines:
            raise ResultsError(f"{experiment.name}: machines.yaml does not have {experiment.machine!r}")
    return Results(known, rows, machines, list(_blocks(results / "per_block.csv")))


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of one file, each checked."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path.name}:{number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise ResultsError(f"{where}: not JSON: {error}") from None
        row = _checked(Row, values, where)
        if row.speedup is not None:
            row = Row(**{**vars(row), "speedup": _checked(Interval, row.speedup, f"{where}: speedup")})
        yield row


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of rows."""
    path.write_text("".join(row.line() + "\n" for row in rows), encoding="utf-8")


def _experiment(path: Path) -> Experiment:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _checked(Experiment, {"name": path.stem, **values}, path.name)


def _checked(kind: type, values: Any, where: str) -> Any:
    """An object of a dataclass from a mapping; unknown, missing and mistyped fields are refused."""
    if not isinstance(values, dict):
        raise ResultsError(f"{where}: not a mapping")
    known = {field.name: field for field in fields(kind)}
    for name in values:
        if name not in known:
            raise ResultsError(f"{where}: unknown field {name!r}")
    for name, field in known.items():
        if name not in values and field.default is MISSING:
            raise ResultsError(f"{where}: the field {name!r} is missing")
        if name in values and not _is(values[name], field.type):
            raise ResultsError(f"{where}: {name} is {values[name]!r}, not {field.type}")
    return kind(**values)


def _is(value: Any, wanted: Any) -> bool:
    """Whether a value from JSON or YAML has the type that a field declares."""
    if wanted is Any:
        return True
    if isinstance(wanted, UnionType):
        return any(_is(value, one) for one in get_args(wanted))
    if get_origin(wanted) is dict:
        return isinstance(value, dict) and all(_is(one, get_args(wanted)[1]) for one in value.values())
    if get_origin(wanted) is list:
        return isinstance(value, list) and all(_is(one, get_args(wanted)[0]) for one in value)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is Interval:
        return isinstance(value, dict)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _blocks(path: Path) -> Iterator[dict[str, str]]:
    """Lines of the table of errors per block."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        yield dict(zip(header.split(","), line.split(","), strict=True))
