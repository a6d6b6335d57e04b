from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from dsformer.benchmarking.timing import LEAST_ROUNDS
from dsformer.cli import demo as command
from dsformer.cli.latency import compare_latency, native_encoder
from dsformer.evaluation import encode
from dsformer.recipe import Recipe
from dsformer.report.rows import LatencyRow, ScoreRow
from fixtures.families import write_family

GOLDEN = Path(__file__).parents[1] / "golden"


class Slow:
    """An encoder that takes so many seconds of a clock, and knows one vector."""

    def __init__(self, clock: list[float], seconds: float):
        self.clock, self.seconds, self.asked = clock, seconds, []

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        self.asked.append(texts)
        self.clock[0] += self.seconds
        return np.ones((len(texts), 4), dtype=np.float32)


def test_one_table_and_a_page(run: Callable, model: Path, texts: Path, tmp_path: Path, monkeypatch):
    calibration = {"text": str(texts), "length": 16}
    recipe = Recipe(ratio=2, allocation="uniform", effort={"iterations": 2, "screening": 1}, calibration=calibration)
    untrained = [ScoreRow("banking77", "accuracy", 80.0, 78.25, None, 1000)]
    measured = command.Measured(
        untrained,
        [ScoreRow("banking77", "accuracy", 80.0, 79.5, None, 1000)],
        [LatencyRow("short batch", 0.010, 0.008, 1.25, 1.2, 1.3, 9)],
    )
    monkeypatch.setattr(command, "find_minilm", lambda: model)
    monkeypatch.setattr(command, "Recipe", lambda: recipe)
    monkeypatch.setattr(command, "measure", lambda *_, **__: untrained)
    monkeypatch.setattr(command, "measure_both", lambda *_: measured)
    monkeypatch.setattr(command, "unlabelled", lambda: texts.read_text().splitlines())
    output = tmp_path / "demo"
    for _ in range(2):  # a second demo replaces the first
        done = run("demo", "-o", output, "--quiet")
        assert done.code == 0
    for piece in ("bytes on disk", "banking77, accuracy", "78.25", "79.50", "8.0 ms (1.25x, 1.20 to 1.30)"):
        assert piece in done.out
    assert "80.00" in (output / command.PAGE).read_text()
    assert (output / command.MODEL / "model.safetensors").is_file()


def test_somebody_elses_directory(run: Callable, model: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(command, "find_minilm", lambda: model)
    (tmp_path / "mine.txt").write_text("keep")
    assert "is not empty" in run("demo", "-o", tmp_path, "--quiet").error


def test_without_the_extra(run: Callable, monkeypatch):
    def missing(name: str):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(command, "files", missing)
    assert run("demo").error == 'The demo needs packages that are not installed: pip install "dsformer[demo]"'


def test_latency_is_paired(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr("dsformer.cli.latency.perf_counter", lambda: clock[0])
    before, after = Slow(clock, 0.06), Slow(clock, 0.02)
    native = Slow(clock, 0.01)
    row, of_native = compare_latency("two", ["a", "b"], before, after, native, seconds=0)
    assert row.pairs == LEAST_ROUNDS
    assert before.asked == after.asked == [["a", "b"]] * (LEAST_ROUNDS + 1)
    assert (row.before, row.after, row.speedup) == pytest.approx((0.06, 0.02, 3))
    assert (of_native.batch, of_native.pairs) == ("two, native", LEAST_ROUNDS)
    assert (of_native.before, of_native.after, of_native.speedup) == pytest.approx((0.06, 0.01, 6))
    assert [one.batch for one in compare_latency("two", ["a"], before, after, seconds=0)] == ["two"]


def test_the_native_runtime(tmp_path: Path):
    write_family(tmp_path / "bert", "bert")
    encoder = native_encoder(tmp_path / "bert")
    assert encoder is not None
    assert encode(encoder, ["a", "b"]).shape == (2, 32)
    assert native_encoder(GOLDEN / "conv1d") is None


@pytest.mark.minilm
def test_finds_the_model():
    directory = command.find_minilm()
    assert (directory / "model.safetensors").is_file()
    assert (directory / "modules.json").is_file()
