import pytest

from dsformer.files import appearing_file


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
