import json
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

import dsformer


def test_loads_plainly_with_the_same_outputs(run: Callable, compressed: Path, tmp_path: Path):
    output = tmp_path / "dense"
    done = run("densify", compressed, "-o", output)
    assert (done.code, done.out) == (0, f"wrote {output}\n")
    assert "quantization_config" not in json.loads((output / "config.json").read_text())
    plain, ours = AutoModel.from_pretrained(output).eval(), dsformer.load(compressed)
    assert {type(module).__module__.split(".")[0] for module in plain.modules()} <= {"torch", "transformers"}
    inputs = AutoTokenizer.from_pretrained(output)("the old bridge over the river", return_tensors="pt")
    with torch.no_grad():
        difference = plain(**inputs).last_hidden_state - ours(**inputs).last_hidden_state
    assert difference.abs().max() < 1e-5


def test_refusals(run: Callable, compressed: Path, model: Path, tmp_path: Path):
    assert "not of a model compressed" in run("densify", model, "-o", tmp_path / "out").error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    assert "is not empty" in run("densify", compressed, "-o", tmp_path / "full").error
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert run("densify", compressed, "-o", tmp_path / "full", "--overwrite").code == 0
    assert not (tmp_path / "full" / "mine.txt").exists()
