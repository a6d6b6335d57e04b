import json
import math
from decimal import Decimal
from pathlib import Path

import pytest

from dsformer.data.supervised import Columns, load_task
from dsformer.data.supervised.classes import ClassIndex, check_label, class_names
from dsformer.errors import InputError


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is empty"),
        ("  ", "is empty"),
        (math.nan, r"is missing \(nan\)"),
        (Decimal("NaN"), r"is missing \(NaN\)"),
        ("NaN", r"is missing \(NaN\)"),
        ("<NA>", "is missing"),
        (-math.inf, "is infinite"),
        (["a", "b"], "must be one value"),
        (["a"], "must be one value"),
        ({"a": 1}, "must be one value"),
        ("['a', 'b']", "must be one value"),
        ("[1, 2]", "must be one value"),
    ],
)
def test_labels_that_are_none(value: object, reason: str):
    with pytest.raises(InputError, match=rf"^a\.csv, line 2: the label {reason}"):
        check_label(value, "a.csv, line 2")


@pytest.mark.parametrize("value", ["None", "none", "null", "nano", "[CLS]", "[a", 0, 0.0, False, "0.5", "inf"])
def test_labels_that_are_unusual(value: object):
    check_label(value, "a.csv, line 2")


def test_one_class_written_in_several_ways():
    assert class_names([1, "1", 1.0, "1.0", "2 ", "2"]) == ("1", "2")
    assert class_names([True, "true", "FALSE", False]) == ("false", "true")
    assert class_names(["10.0", "2.0", "2.0"]) == ("2.0", "10.0")
    assert class_names(["True", "False"]) == ("False", "True")
    assert class_names(["01", "1", "Pos", "pos"]) == ("01", "1", "Pos", "pos")


def test_a_class_is_found_however_it_is_written():
    known = ClassIndex(("0", "1", "True", "Pos", "pos"))
    for value, index in ((0, 0), ("0.0", 0), (1.0, 1), (True, 2), ("true", 2), ("Pos", 3), ("pos", 4)):
        assert known.find(value) == index
    assert ClassIndex(("Negative", "Positive")).find("positive") == 1
    assert known.find("POS") is None  # two classes have that name
    with pytest.raises(InputError, match=r"a\.csv, line 9: the label 'POS' is not one of: '0', '1', 'True', 'Pos'"):
        known.index("POS", "a.csv, line 9")


def rows(path: Path, labels: list[object]) -> str:
    path.write_text("\n".join(json.dumps({"text": f"t{i}", "label": label}) for i, label in enumerate(labels)))
    return str(path)


@pytest.mark.parametrize("others", [[0, 1], [0.25, 0.75]])
def test_a_missing_label_is_not_a_class(others: list[object], tmp_path: Path):
    path = rows(tmp_path / "a.jsonl", [*others * 4, math.nan])
    for kind in (None, "classification", "regression"):
        with pytest.raises(InputError, match=r"a\.jsonl, value 9: the label is missing \(nan\)"):
            load_task(path, columns=Columns(kind=kind))


def test_a_missing_label_of_parquet(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    for labels, reason in (([0.0, 1.0, math.nan], "is missing"), ([0, 1, None], "is empty"), ([["a"]] * 3, "must be")):
        parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "label": labels}), path)
        with pytest.raises(InputError, match=rf"a\.parquet, row \d: the label {reason}"):
            load_task(str(path), columns=Columns(evaluation=path))


def test_types_mixed_in_a_file(tmp_path: Path):
    task = load_task(rows(tmp_path / "a.jsonl", [1, "0", 1.0, 0] * 4))
    assert task.labels == ("0", "1")
    assert task.train is not None
    assert set(task.train.targets) == {0, 1}
    with pytest.raises(InputError, match=r"a\.jsonl: its labels are truth values and numbers mixed: 0, 1, True"):
        load_task(rows(tmp_path / "a.jsonl", [1, True, 0] * 4))
    with pytest.raises(InputError, match=r"a\.jsonl, value 3: the label 'x' is no number, and others are fractions"):
        load_task(rows(tmp_path / "a.jsonl", [0.5, 0.25, "x"] * 4))
    task = load_task(rows(tmp_path / "a.jsonl", [0.5, "x"] * 4), columns=Columns(kind="classification"))
    assert task.labels == ("0.5", "x")


def test_a_file_to_evaluate_on_may_write_classes_in_another_way(tmp_path: Path):
    path = rows(tmp_path / "a.jsonl", [True, False] * 4)
    (tmp_path / "b.csv").write_text("text,label\na,true\nb,FALSE\n")
    assert load_task(path, columns=Columns(evaluation=tmp_path / "b.csv")).evaluation.targets == (1, 0)
    path = rows(tmp_path / "a.jsonl", [0, 1] * 4)
    (tmp_path / "b.csv").write_text("text,label\na,1.0\nb,0.0\n")
    assert load_task(path, columns=Columns(evaluation=tmp_path / "b.csv")).evaluation.targets == (1, 0)
