import json

import pytest

from dsformer.errors import InputError
from dsformer.utils.atomic_io import add_row, check_writable, read_rows, user_path, write_file_atomically, write_rows


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    with write_file_atomically(path) as fresh:
        fresh.write_text("half")
        assert not path.exists()
        fresh.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_when_something_is_raised(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("old")

    def fail():
        with write_file_atomically(path) as fresh:
            fresh.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_once_nobody_writes(tmp_path):
    path, left = tmp_path / "rows.jsonl", tmp_path / ".rows.jsonl.01234567.partial"
    left.write_text("half")
    with write_file_atomically(tmp_path / "other") as other:
        other.touch()
        with write_file_atomically(path) as fresh:
            fresh.touch()
        assert left.exists()
    with write_file_atomically(path) as fresh:
        fresh.touch()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "other", path]


def test_paths_of_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == user_path(tmp_path / "x") == tmp_path / "x"
    for wrong in ("", "a\0b"):
        with pytest.raises(InputError):
            user_path(wrong)


def test_files_to_be_written_are_checked_before_the_work(tmp_path):
    model, existing = tmp_path / "model", tmp_path / "file"
    model.mkdir()
    existing.write_text("")
    assert check_writable(tmp_path / "new" / "deep" / "page.html", "report", [model]).name == "page.html"
    for path, message in (
        (tmp_path, "report: .* is a directory"),
        (model / "config.json", "report: .* lies in what is read"),
        (existing / "page.html", "report: .* is not a directory"),
    ):
        with pytest.raises(InputError, match=message):
            check_writable(path, "report", [model, None])
    with pytest.raises(InputError, match="is what is read"):
        check_writable(existing, "report", [existing])
    assert sorted(tmp_path.iterdir()) == [existing, model]


def test_nothing_written_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), write_file_atomically(tmp_path / "rows.jsonl"):
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
