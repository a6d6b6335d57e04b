import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from dsformer.data import load_banking77, load_scifact, load_stsb
from dsformer.errors import InputError


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def write_banking77(folder: Path, train: str = "text,category\na,x\nb,y\n") -> None:
    write(folder / "banking77" / "categories.json", '["y", "x"]')
    write(folder / "banking77" / "train.csv", train)
    write(folder / "banking77" / "test.csv", 'text,category\n"c, d",x\n')


def write_scifact(folder: Path, judged: str = "1\td2\t1\n1\td1\t0\n3\td1\t2\n") -> None:
    documents = [{"_id": "d1", "title": "Title", "text": "body."}, {"_id": "d2", "text": "no title"}]
    with gzip.open(folder / "scifact-corpus.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, documents)))
    queries = [{"_id": str(number), "text": f"claim {number}"} for number in (1, 2, 3)]
    write(folder / "queries.jsonl", "\n".join(map(json.dumps, queries)))
    write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + judged)


def test_bundled_banking77_is_the_official_split():
    data = load_banking77()
    assert (len(data.train.texts), len(data.test.texts), len(data.categories)) == (10_003, 3_080, 77)
    assert set(Counter(data.test.labels).values()) == {40}
    assert data.train.texts[0] == "I am still waiting on my card?"
    assert data.categories[data.train.labels[0]] == "card_arrival"


def test_local_banking77_numbers_labels_by_the_list_of_categories(tmp_path: Path):
    write_banking77(tmp_path)
    data = load_banking77(tmp_path)
    assert data.train.labels == (1, 0)
    assert data.test.texts == ("c, d",)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("text,label\na,x\n", "no column 'category'; its columns are: text, label"),
        ("text,category\na,z\n", "categories.json does not list: 'z'"),
        ("text,category\n", "holds no rows"),
    ],
)
def test_damaged_banking77(tmp_path: Path, train: str, message: str):
    write_banking77(tmp_path, train)
    with pytest.raises(InputError, match=message):
        load_banking77(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path):
    (tmp_path / "banking77").mkdir()
    with pytest.raises(InputError, match=r"banking77 has no categories\.json"):
        load_banking77(tmp_path)


@pytest.mark.parametrize("name", ["original/sts-test.csv", "sts-test.csv"])
def test_stsb_reads_the_official_columns_unquoted(tmp_path: Path, name: str):
    rows = 'main\tMSRvid\t2012\t24\t2.5\tA "girl\tA boy\nmain\tnews\t2013\t1\t0\tOne\tTwo\tsource\tsource\n'
    write(tmp_path / "glue-stsb" / name, rows)
    pairs = load_stsb(tmp_path)
    assert pairs.first == ('A "girl', "One")
    assert pairs.second == ("A boy", "Two")
    assert pairs.scores == (2.5, 0.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a\tb\tc\td\t1\ttext\n", "line 1: expected at least 7 tab-separated columns, not 6"),
        ("a\tb\tc\td\tgood\ttext\ttext\n", "line 1: column 5 must be a score, not 'good'"),
        ("", "is empty"),
    ],
)
def test_damaged_stsb(tmp_path: Path, rows: str, message: str):
    write(tmp_path / "glue-stsb" / "sts-test.csv", rows)
    with pytest.raises(InputError, match=message):
        load_stsb(tmp_path)


def test_scifact_keeps_judged_queries_and_joins_title_and_text(tmp_path: Path):
    folder = tmp_path / "scifact"
    folder.mkdir()
    write_scifact(folder)
    data = load_scifact(tmp_path)
    assert data.queries == {"1": "claim 1", "3": "claim 3"}
    assert data.documents == {"d1": "Title body.", "d2": "no title"}
    assert data.relevance == {"1": {"d2": 1}, "3": {"d1": 2}}


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        ("9\td1\t1\n", "judges query '9', which queries.jsonl lacks"),
        ("1\td9\t1\n", "judges document 'd9', which the corpus lacks"),
        ("1\td1\thigh\n", "must be a whole number, not 'high'"),
        ("1\td1\t0\n", "judges no document relevant"),
    ],
)
def test_damaged_scifact_judgements(tmp_path: Path, judged: str, message: str):
    folder = tmp_path / "scifact"
    folder.mkdir()
    write_scifact(folder, judged)
    with pytest.raises(InputError, match=message):
        load_scifact(tmp_path)


def test_scifact_names_a_missing_key(tmp_path: Path):
    folder = tmp_path / "scifact"
    folder.mkdir()
    write_scifact(folder)
    write(folder / "queries.jsonl", '{"_id": "1"}\n')
    with pytest.raises(InputError, match=r"queries\.jsonl: every line must be an object with a string 'text'"):
        load_scifact(tmp_path)
