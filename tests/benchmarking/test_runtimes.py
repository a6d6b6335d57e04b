"""Dense models in other engines say what they say in PyTorch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import dsformer
from dsformer.benchmarking import Setting, open_contender, open_contenders
from dsformer.benchmarking.run import batch_of
from dsformer.benchmarking.runtimes import Sessions
from dsformer.errors import InputError, MissingExtraError
from fixtures.training import QUICK, write_base


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "model", 0.15)


@pytest.fixture(scope="module")
def compressed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dsformer.compress(model, tmp_path_factory.mktemp("models") / "compressed", **QUICK).output


def cosine(model: Path, way: str, setting: Setting) -> float:
    contender = open_contender(model, way)
    batch = batch_of(contender, setting)
    with torch.no_grad():
        dense = AutoModel.from_pretrained(model).eval()(**batch)[0]
    return float(torch.cosine_similarity(torch.as_tensor(contender.call(**batch)).flatten(), dense.flatten(), 0))


@pytest.mark.parametrize(("way", "like"), [("onnx", 1 - 1e-5), ("onnx-int8", 0.98)])
@pytest.mark.parametrize("setting", [Setting(1, 9, 1), Setting(3, 20, 2)])
def test_onnx_runtime(model: Path, way: str, like: float, setting: Setting):
    assert cosine(model, way, setting) > like


@pytest.mark.parametrize(("way", "like"), [("openvino", 1 - 1e-5), ("openvino-int8", 0.95)])
def test_openvino(model: Path, way: str, like: float):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    assert cosine(model, way, Setting(3, 20, 2)) > like


def test_sizes_are_of_the_files(model: Path):
    plain, small = open_contender(model, "onnx"), open_contender(model, "onnx-int8")
    assert plain.disk_bytes == plain.memory_bytes > 0.9 * (model / "model.safetensors").stat().st_size
    assert small.disk_bytes < 0.5 * plain.disk_bytes


def test_sessions_follow_torchs_threads(model: Path):
    contender = open_contender(model, "onnx")
    assert isinstance(contender.call, Sessions)
    made: list[int] = []
    make: Callable = contender.call._make
    contender.call._make = lambda threads: made.append(threads) or make(threads)
    before = torch.get_num_threads()
    try:
        for threads in (before + 1, before + 1, before):
            torch.set_num_threads(threads)
            contender.run(batch_of(contender, Setting(1, 8, threads)))
    finally:
        torch.set_num_threads(before)
    assert made == [before + 1, before]


def test_compressed_models_run_in_pytorch_alone(model: Path, compressed: Path):
    with pytest.raises(InputError, match="way onnx runs dense models only; write one with dsformer densify"):
        open_contender(compressed, "onnx")
    names = [one.name for one in open_contenders([model, compressed], ["eager", "onnx"])]
    assert names == [f"{model} eager", f"{model} onnx", f"{compressed} eager"]
    with pytest.raises(InputError, match="runs dense models only"):
        open_contenders([compressed], ["onnx"])


def test_missing_packages(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dsformer.benchmarking.runtimes.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "dsformer\[onnx\]"'):
        open_contender(model, "onnx")
