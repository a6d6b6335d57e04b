import gzip
import sys
from pathlib import Path

import pytest

from dsformer.data import bundled_passages, read_texts
from dsformer.errors import InputError, MissingExtraError


def test_bundled_passages_are_prose_of_about_500_characters():
    passages = bundled_passages(512)
    assert len(set(passages)) == 512
    assert all(300 < len(passage) < 700 and "gutenberg" not in passage.lower() for passage in passages)


def test_fewer_passages_still_cover_every_book():
    text = " ".join(bundled_passages(40))
    assert all(name in text for name in ("Alice", "Elizabeth", "Clerval", "Ahab", "Holmes"))
    assert len(bundled_passages(40)) == 40


@pytest.mark.parametrize("count", [0, 513])
def test_too_many_or_no_passages(count: int):
    with pytest.raises(InputError, match="holds 512 passages"):
        bundled_passages(count)


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.txt", "one\r\n\n  \n two, \n", None),
        ("a.csv", 'id,text\n1,one\n2,""\n3,"two,"\n', None),
        ("a.csv", 'id,body\n1,one\n3,"two,"\n', "body"),
        ("a.csv", 'body\none\n"two,"\n', None),
        ("a.tsv", "id\ttext\n1\tone\n2\ttwo,\n", None),
        ("a.jsonl", '{"text": "one", "id": 1}\n{"text": "two,"}\n', None),
        ("a.jsonl", '"one"\n"two,"\n', None),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_formats(tmp_path: Path, name: str, content: str, column: str | None, zipped: bool):
    path = tmp_path / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(content.encode()) if zipped else content.encode())
    assert read_texts(path, column) == ["one", "two,"]


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.txt", "\n \n", None, "holds no text"),
        ("a.txt", "one\n", "text", "has no columns"),
        ("a.csv", "a,b\n1,2\n", "text", "has no column 'text'; its columns are: a, b"),
        ("a.csv", "a,b\n1,2\n", None, "has several columns; say which one holds the text: a, b"),
        ("a.csv", "text\n", None, "holds no text"),
        ("a.jsonl", '{"a": "x"}\n{"b": "x"}\n', "a", "has no column 'a'; its columns are: b"),
        ("a.jsonl", '{"text": 3}\n', None, "value 1: expected a string, not int"),
        ("a.docx", "x", None, r"text is read from \.txt"),
    ],
)
def test_errors(tmp_path: Path, name: str, content: str, column: str | None, message: str):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_texts(path, column)


@pytest.mark.parametrize("name", ["none.txt", "none.csv.gz", "none.jsonl", "none.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=f"No such file: .*{name}"):
        read_texts(tmp_path / name)


def test_parquet(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", None, " ", "two"], "id": [1, 2, 3, 4]}), path)
    assert read_texts(path) == ["one", "two"]
    with pytest.raises(InputError, match="has no column 'body'; its columns are: text, id"):
        read_texts(path, "body")
    with pytest.raises(InputError, match="'id' does not hold text"):
        read_texts(path, "id")
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        read_texts(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(MissingExtraError, match=r'Reading Parquet needs .*"dsformer\[train\]"'):
        read_texts(tmp_path / "a.parquet")
