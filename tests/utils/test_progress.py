import sys
from pathlib import Path

import pytest

from dsformer.utils.progress import Lines, shown_progress, silent, tell_loss
from fixtures.training import QUICK


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def time() -> list[float]:
    """The seconds a clock shows."""
    return [0.0]


@pytest.fixture
def progress(lines: list[str], time: list[float]) -> Lines:
    return Lines(lines.append, lambda: time[0])


def test_lines_have_stage_count_time_left_and_loss(progress: Lines, lines: list[str], time: list[float]):
    progress("train", 0, 200)
    time[0] = 10.0
    tell_loss(progress, "train", 0.51234)
    progress("train", 10, 200)
    time[0] = 200.0
    progress("train", 200, 200)
    assert lines == [
        "train: 0 of 200",
        "train: 10 of 200, loss 0.5123, about 3.2 min left",
        "train: 200 of 200, loss 0.5123 (3.3 min)",
    ]


def test_there_are_not_too_many(progress: Lines, lines: list[str], time: list[float]):
    for done in range(10_001):
        time[0] = done / 1000
        progress("calibrate", done, 10_000)
    assert len(lines) <= 2 + 10 / 2
    assert lines[-1].startswith("calibrate: 10000 of 10000 (")


def test_steps_that_take_long_have_a_line_now_and_then(progress: Lines, lines: list[str], time: list[float]):
    for done in range(11):
        time[0] = 20.0 * done
        progress("train", done, 10_000)
    assert [line.split(",")[0] for line in lines] == [f"train: {n} of 10000" for n in (0, 2, 4, 6, 8, 10)]


def test_a_run_taken_up_again_counts_from_there(progress: Lines, lines: list[str], time: list[float]):
    progress("train", 50, 100)
    time[0] = 10.0
    progress("train", 60, 100)
    assert lines[-1] == "train: 60 of 100, about 40 s left"


def test_plain_listeners_hear_nothing_of_losses():
    tell_loss(silent, "train", 0.5)


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    with shown_progress() as progress:
        progress("factorize", 0, 3)
    assert capsys.readouterr() == ("", "factorize: 0 of 3\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with shown_progress() as progress:
        progress("factorize", 1, 3)
        tell_loss(progress, "factorize", 0.5)
    shown = capsys.readouterr().err
    assert "left" in shown
    assert "loss 0.5" in shown
    with shown_progress(quiet=True) as progress:
        progress("factorize", 1, 3)
    assert capsys.readouterr() == ("", "")


def test_training_tells_its_loss(tmp_path: Path):
    import dsformer
    from fixtures.training import write_base, write_task

    said: list[str] = []
    training = {"train": "fixed", "task": str(write_task(tmp_path / "reviews.csv", 64)), "epochs": 1, "bf16": False}
    base = write_base(tmp_path / "base")
    lines = Lines(said.append, iter(range(0, 10_000, 5)).__next__)
    dsformer.compress(base, tmp_path / "out", progress=lines, **QUICK, training=training)
    assert any(line.startswith("finetune: ") and "loss" in line for line in said)
    assert any(line.startswith("train: ") and "loss" in line for line in said)
    assert any(line.startswith("factorize: ") for line in said)
