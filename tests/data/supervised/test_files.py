import gzip
from collections import Counter
from pathlib import Path

import pytest

from dsformer.data.supervised import Columns, load_task
from dsformer.errors import InputError


def table(rows: int, labels: list[str]) -> str:
    return "text,label\n" + "".join(f"t{row},{labels[row % len(labels)]}\n" for row in range(rows))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'body,other,class\n"one, x",p,b\ntwo,q,a\nthree,r,b\nfour,s,b\nfive,t,a\n'),
        ("a.tsv", "body\tother\tclass\none, x\tp\tb\ntwo\tq\ta\nthree\tr\tb\nfour\ts\tb\nfive\tt\ta\n"),
        (
            "a.jsonl",
            '{"body": "one, x", "other": "p", "class": "b"}\n{"body": "two", "other": "q", "class": "a"}\n'
            '{"body": "three", "other": "r", "class": "b"}\n{"body": "four", "other": "s", "class": "b"}\n'
            '{"body": "five", "other": "t", "class": "a"}\n',
        ),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_formats(write, tmp_path: Path, name: str, content: str, zipped: bool):
    path = write(name, content)
    if zipped:
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress(content.encode()))
    task = load_task(str(path), columns=Columns("body", "other", "class", evaluation=path))
    assert (task.name, task.kind, task.labels, task.metric) == (path.name, "classification", ("a", "b"), "accuracy")
    assert task.train == task.evaluation
    assert task.train.texts == ("one, x", "two", "three", "four", "five")
    assert (task.train.pairs, task.train.targets) == (("p", "q", "r", "s", "t"), (1, 0, 1, 1, 0))


def test_parquet(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b", None], "label": [0.5, 1.0, 2.0]}), path)
    with pytest.raises(InputError, match=r"a\.parquet, row 3: 'text' must be text, not NoneType"):
        load_task(str(path))
    parquet.write_table(pyarrow.table({"text": ["a"] * 6, "label": [0.5, 1, 2, 3, 4, 5]}), path)
    task = load_task(str(path))
    assert (task.kind, task.metric, len(task.train), len(task.evaluation)) == ("regression", "spearman", 5, 1)
    with pytest.raises(InputError, match="has no column 'body'; its columns are: text, label"):
        load_task(str(path), columns=Columns("body"))


def test_a_tenth_is_set_aside_evenly_over_the_classes(write):
    path = write("a.csv", table(200, ["x", "x", "x", "y"]))
    task = load_task(str(path))
    assert Counter(task.evaluation.targets) == {0: 15, 1: 5}
    assert len(task.train) == 180
    assert set(task.train.texts).isdisjoint(task.evaluation.texts)
    assert task == load_task(str(path))


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (["1", "2", "10"], "classification", ("1", "2", "10")),
        (["1.0", "2.0"], "classification", ("1.0", "2.0")),
        (["0.5", "2"], "regression", ()),
        (["none", "x"], "classification", ("none", "x")),
    ],
)
def test_the_labels_tell_the_kind(write, labels: list[str], kind: str, names: tuple[str, ...]):
    task = load_task(str(write("a.csv", table(12, labels))))
    assert (task.kind, task.labels) == (kind, names)


def test_a_kind_can_be_demanded(write):
    path = str(write("a.csv", table(10, ["1", "2"])))
    assert load_task(path, columns=Columns(kind="regression")).train.targets[:2] == (1.0, 2.0)
    task = load_task(path, columns=Columns(kind="masked_lm"))
    assert (task.kind, task.labels, task.train.targets, task.metric) == ("masked_lm", (), (), "perplexity")
    assert load_task(path, columns=Columns(label=None, kind="causal_lm")).kind == "causal_lm"


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("text,label\na,\n", Columns(), r"a\.csv, line 2: the label is empty"),
        ("text,label\n", Columns(), r"a\.csv holds no rows"),
        ("body,label\na,b\n", Columns(), "no column 'text'; its columns are: body, label"),
        ("text,label\na,b\n", Columns(pair="second"), "no column 'second'"),
        (table(9, ["x"]), Columns(), "at least two different labels, not 1"),
        (table(4, ["x", "y"]), Columns(), "holds 4 rows, too few to set some aside: name a file"),
        ("text,label\na,1\nb,x\n", Columns(kind="regression"), "line 3: the label must be a number, not 'x'"),
        (table(9, ["x", "y"]), Columns(kind="question_answering"), "'question_answering' cannot be read; kinds: class"),
        (table(9, ["x", "y"]), Columns(label=None), "say which column holds the label"),
    ],
)
def test_errors(write, content: str, columns: Columns, message: str):
    with pytest.raises(InputError, match=message):
        load_task(str(write("a.csv", content)), columns=columns)


def test_held_out_rows_must_have_the_labels_of_the_training_rows(write):
    path, held_out = write("a.csv", table(10, ["x", "y"])), write("b.csv", table(3, ["x", "y", "z"]))
    with pytest.raises(InputError, match=r"b\.csv, line 4: the label 'z' is not one of: 'x', 'y'"):
        load_task(str(path), columns=Columns(evaluation=held_out))


def test_json_values_must_be_objects_with_text(write):
    with pytest.raises(InputError, match=r"a\.jsonl, value 1: expected an object, not str"):
        load_task(str(write("a.jsonl", '"one"\n')))
    with pytest.raises(InputError, match=r"a\.jsonl, value 1: 'text' must be text, not int"):
        load_task(str(write("a.jsonl", '{"text": 3, "label": "x"}\n')))


def test_unknown_names(write, tmp_path: Path):
    with pytest.raises(InputError, match=r"Unknown task 'imdb'; the tasks are: cola, .*ends in \.csv, \.tsv"):
        load_task("imdb")
    with pytest.raises(InputError, match=r"No such file: .*none\.csv"):
        load_task(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="'banking77' knows its columns"):
        load_task("banking77", columns=Columns())
