"""Factors, or what they multiply out to."""

import json
from pathlib import Path

import numpy as np
import pytest

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Linear, Matrix
from dsformer_runtime.native import choice
from dsformer_runtime.native.library import open_library

pytestmark = pytest.mark.skipif(open_library() is None, reason="no native library")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("DSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DSFORMER_AUTOTUNE", raising=False)
    monkeypatch.setattr(choice, "_known", {})
    return tmp_path / "cache" / "runtime.json"


def factors(rounded: bool = False) -> Linear:
    generator = np.random.default_rng(0)

    def matrix(rows: int, columns: int, density: float = 1) -> Matrix:
        kept = generator.random((rows, columns)) < density
        if rounded:
            numbers = generator.integers(-127, 128, (rows, columns)) * kept
            return Matrix(numbers.astype(np.int8), generator.random(rows, np.float32) * 0.01)
        return Matrix((generator.standard_normal((rows, columns)) * kept).astype(np.float32))

    bias = generator.standard_normal(70).astype(np.float32)
    return Linear(matrix(20, 90), matrix(70, 20, 0.3), matrix(70, 90, 0.2), bias)


@pytest.mark.parametrize("rounded", [False, True])
def test_both_forms_give_the_same(rounded: bool, cache: Path, monkeypatch: pytest.MonkeyPatch):
    x = np.random.default_rng(1).standard_normal((5, 90)).astype(np.float32)
    found = []
    for form in ("factors", "dense"):
        monkeypatch.setenv("DSFORMER_PRODUCTS", form)
        found.append(choice.pack_faster(factors(rounded)).run(x))
    error = np.linalg.norm(found[0] - found[1]) / np.linalg.norm(found[0])
    assert 0 < error < (0.02 if rounded else 1e-5)
    assert not cache.exists()


def test_what_was_faster_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch):
    measured = []
    monkeypatch.setattr(choice, "_measure", lambda linear: measured.append(linear) or "dense")
    for _ in range(2):
        assert choice.pack_faster(factors()).nbytes > 0
    assert len(measured) == 1
    assert list(json.loads(cache.read_text()).values()) == ["dense"]
    monkeypatch.setattr(choice, "_known", {})
    choice.pack_faster(factors())
    assert len(measured) == 1


def test_a_measurement(cache: Path):
    choice.pack_faster(factors(rounded=True))
    assert set(json.loads(cache.read_text()).values()) <= {"factors", "dense"}


def test_without_measurements(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DSFORMER_AUTOTUNE", "0")
    choice.pack_faster(factors())
    assert not cache.exists()


@pytest.mark.parametrize("written", ["", "[]", '{"a": 3}', "\x00"])
def test_a_damaged_file_is_written_again(written: str, cache: Path):
    cache.parent.mkdir()
    cache.write_text(written)
    choice.pack_faster(factors())
    assert len(json.loads(cache.read_text())) == 1


def test_an_unknown_form(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DSFORMER_PRODUCTS", "fast")
    with pytest.raises(RuntimeInputError, match="DSFORMER_PRODUCTS"):
        choice.pack_faster(factors())
