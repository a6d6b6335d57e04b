from pathlib import Path

import pytest

from dsformer.errors import InputError
from dsformer.pipeline.workdir import working

RUN = {"model": "m", "epochs": 3}


def stopped(output: Path, described: dict, wrote: str, error: type[BaseException] = KeyboardInterrupt) -> None:
    """A run that is stopped after it wrote a file, or a directory if the name ends in a slash."""
    with working(output, described) as work:
        (work / wrote).parent.mkdir(parents=True, exist_ok=True)
        if wrote.endswith("/"):
            (work / wrote).mkdir()
        elif wrote:
            (work / wrote).write_text("half")
        raise error


def interrupted(output: Path, described: dict) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(output, described, "checkpoint/state")


def test_it_is_beside_the_output_and_gone_at_the_end(tmp_path: Path):
    with working(tmp_path / "out", RUN) as work:
        assert work == tmp_path / "out.work"
        (work / "checkpoint").mkdir()
        (work / "checkpoint" / "state").write_text("done")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_goes_on(tmp_path: Path):
    interrupted(tmp_path / "out", RUN)
    with working(tmp_path / "out", dict(reversed(RUN.items()))) as work:
        assert (work / "checkpoint" / "state").read_text() == "half"
    assert list(tmp_path.iterdir()) == []


def test_another_run_is_refused_and_leaves_the_work(tmp_path: Path):
    interrupted(tmp_path / "out", RUN)
    with pytest.raises(InputError, match=r"out\.work: holds an unfinished run with other settings"):
        working(tmp_path / "out", RUN | {"epochs": 4}).__enter__()
    assert (tmp_path / "out.work" / "checkpoint" / "state").read_text() == "half"


def test_another_output_is_another_run(tmp_path: Path):
    interrupted(tmp_path / "out", RUN)
    with working(tmp_path / "other", RUN | {"epochs": 4}) as work:
        assert not (work / "checkpoint").exists()


def test_somebody_elses_directory_is_left_alone(tmp_path: Path):
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not the work of an unfinished run"):
        working(tmp_path / "out", RUN).__enter__()
    assert (tmp_path / "out.work" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("wrote", ["", "training/"])
def test_a_run_that_failed_before_it_had_anything_leaves_nothing(wrote: str, tmp_path: Path):
    with pytest.raises(InputError):
        stopped(tmp_path / "out", RUN, wrote, InputError)
    assert list(tmp_path.iterdir()) == []
