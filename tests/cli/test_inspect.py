import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from fixtures.artefacts import without_record


def test_every_byte(run: Callable, compressed: Path):
    found = json.loads(run("inspect", compressed, "--json").out)
    summary = json.loads((compressed / "config.json").read_text())["quantization_config"]["summary"]
    for key in ("bytes_before", "bytes_after", "rest_bytes", "encoder_ratio", "total_ratio"):
        assert found[key] == pytest.approx(summary[key])
    assert found["differences"] == []
    assert [block["error"] for block in found["blocks"]] == [block["error"] for block in summary["blocks"]]
    with safe_open(compressed / "model.safetensors", "pt") as file:
        stored = sum(tensor.numel() * tensor.element_size() for tensor in map(file.get_tensor, file.keys()))
    assert found["bytes_after"] == stored
    assert stored < found["file_bytes"] == (compressed / "model.safetensors").stat().st_size


def test_the_table(run: Callable, compressed: Path):
    shown = run("inspect", compressed)
    assert shown.code == 0
    assert "encoder.layer.1.attention.self.{query,key,value}" in shown.out
    assert "Every block takes exactly the bytes its configuration says." in shown.out


def test_no_model_is_loaded(run: Callable, compressed: Path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(PreTrainedModel, "__init__", refuse)
    assert run("inspect", compressed).code == 0


def test_files_that_differ_from_the_configuration(run: Callable, compressed: Path, tmp_path: Path):
    copy = Path(copytree(compressed, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file({**tensors, name: tensors[name][:-1].clone()}, copy / "model.safetensors", {"format": "pt"})
    shown = run("inspect", copy)
    assert shown.code == 0
    assert "encoder.layer.0.output.dense: codes takes" in shown.out


def test_verify(run: Callable, compressed: Path, tmp_path: Path):
    assert "Every tensor has the checksum it was written with" in run("inspect", compressed, "--verify").out
    copy = Path(copytree(compressed, tmp_path / "copy"))
    file = copy / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    assert run("inspect", copy).code == 0
    found = run("inspect", copy, "--verify")
    assert found.code == 2
    assert "is damaged: its checksum is not the one it was written with" in found.error
    assert "It has no checksums" in run("inspect", without_record(copy), "--verify").out


def test_what_is_not_compressed(run: Callable, model: Path, tmp_path: Path):
    assert "not of a model compressed with DSFormer" in run("inspect", model).error
    assert "not a compressed model" in run("inspect", tmp_path).error
    assert "not a compressed model" in run("inspect", tmp_path / "nowhere").error
