import json

import pytest

from dsformer.files import add_row, appearing_file, read_rows, write_rows


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    with appearing_file(path) as fresh:
        fresh.write_text("half")
        assert not path.exists()
        fresh.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_when_something_is_raised(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("old")

    def fail():
        with appearing_file(path) as fresh:
            fresh.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), appearing_file(tmp_path / "rows.jsonl"):
        pass
    assert not list(tmp_path.iterdir())


def test_rows_are_added_and_replaced(tmp_path):
    path, rows = tmp_path / "new" / "rows.jsonl", [{"key": "a", "value": 0.5}, {"key": "b", "value": None}]
    assert read_rows(path) == []
    for row in rows:
        add_row(path, row)
    assert read_rows(path) == rows
    write_rows(path, rows[:1])
    assert read_rows(path) == rows[:1]


def test_a_line_cut_short_does_not_count(tmp_path):
    path, row = tmp_path / "rows.jsonl", {"key": "a", "method": "svd"}
    path.write_text(json.dumps(row) + "\n" + '{"key": "b", "met')
    assert read_rows(path) == [row]
    add_row(path, row)
    assert read_rows(path) == [row, row]
