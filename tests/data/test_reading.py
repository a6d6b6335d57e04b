import csv
import gzip
from pathlib import Path

import pytest

from dsformer.data.reading import open_text, read_jsonl, read_table
from dsformer.errors import InputError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_commas_may_be_quoted_and_tabs_are_literal(tmp_path: Path):
    quoted = read_table(write(tmp_path / "a.csv", 'text,label\r\n"one, ""two""\nthree",x\r\n\r\n'))
    assert quoted.rows == [['one, "two"\nthree', "x"]]
    literal = read_table(write(tmp_path / "a.tsv", 'text\tlabel\n"open\tx\n'), tabs=True)
    assert literal.column("text") == ['"open']


def test_cells_may_be_long_and_the_limit_of_the_csv_module_is_left_as_it_was(tmp_path: Path):
    before = csv.field_size_limit()
    table = read_table(write(tmp_path / "a.csv", "text\n" + "x" * 200_000 + "\n"))
    assert len(table.rows[0][0]) == 200_000
    assert csv.field_size_limit() == before


def test_a_missing_column_lists_those_there_are(tmp_path: Path):
    table = read_table(write(tmp_path / "a.csv", "sentence,label\na,b\n"))
    with pytest.raises(InputError, match=r"a\.csv has no column 'text'; its columns are: sentence, label"):
        table.column("text")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "a,b\n1,2\n1\n", "line 3: expected 2 cells, not 1"),
        ("a.csv", b"a,b\n\xff\xfe,1\n", "is not UTF-8 text"),
        ("a.csv.gz", b"no gzip", "is not a whole gzip file"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-12], "is not a whole gzip file"),
    ],
)
def test_damaged_tables(tmp_path: Path, name: str, content: str | bytes, message: str):
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / name, content))


def test_a_byte_order_mark_is_dropped_and_gzip_is_read(tmp_path: Path):
    path = write(tmp_path / "a.txt.gz", gzip.compress("\ufeffßü\n".encode()))
    with open_text(path) as file:
        assert file.read() == "ßü\n"


def test_missing_and_unreadable_files(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"), open_text(tmp_path / "none.txt"):
        pass
    with pytest.raises(InputError, match="cannot be read"), open_text(tmp_path):
        pass


def test_jsonl_skips_blank_lines_and_names_a_bad_one(tmp_path: Path):
    assert read_jsonl(write(tmp_path / "a.jsonl", '{"a": 1}\n\n"b"\n')) == [{"a": 1}, "b"]
    with pytest.raises(InputError, match=r"b\.jsonl, line 2: not JSON"):
        read_jsonl(write(tmp_path / "b.jsonl", '{"a": 1}\n{"a"\n'))


def test_rows_know_their_lines_and_broken_ones_can_be_left_out(tmp_path: Path):
    path = write(tmp_path / "a.csv", 'a,b\n"1\n1",2\n\n3\n4,5\n')
    table = read_table(path, skip_broken=True)
    assert (table.rows, table.lines) == ([["1\n1", "2"], ["4", "5"]], [3, 6])
    with pytest.raises(InputError, match="line 5: expected 2 cells, not 1"):
        read_table(path)


@pytest.mark.parametrize("first", ["", "a,b\n"])
def test_the_line_of_names_may_be_missing_where_names_are_given(tmp_path: Path, first: str):
    assert read_table(write(tmp_path / "a.csv", first + "1,2\n"), header=("a", "b")).column("b") == ["2"]
