import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")


def test_against_the_original(run: Callable, compressed: Path, model: Path):
    words = ["evaluate", compressed, "--against", model, "--tasks", "fidelity", "--limit", "20"]
    shown = run(*words)
    assert shown.code == 0
    assert "cosine to original" in shown.out
    assert shown.err == ""
    scores = json.loads(run(*words, "--json").out)["scores"]
    assert [(score["task"], score["before"], score["count"]) for score in scores] == [("fidelity", None, 20)]
    assert scores[0]["after"] <= 100


def test_refusals(run: Callable, compressed: Path, tmp_path: Path):
    assert "--against" in run("evaluate", compressed, "--tasks", "fidelity").error
    assert "Unknown task" in run("evaluate", compressed, "--tasks", "tea").error
    assert "tmp" in run("evaluate", tmp_path / "nowhere").error
    assert "is not a folder" in run("evaluate", compressed, "--data-dir", tmp_path / "none").error
