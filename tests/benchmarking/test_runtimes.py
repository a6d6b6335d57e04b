"""Models in other engines say what they say in PyTorch, whatever their texts are padded to."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel, AutoModel, AutoTokenizer

import dsformer
import dsformer_runtime
from dsformer.benchmarking import Setting, open_contender, open_contenders
from dsformer.benchmarking.engines import possible
from dsformer.benchmarking.run import prepared
from dsformer.benchmarking.runtimes.engine import Padded, Sessions
from dsformer.benchmarking.texts import texts_of
from dsformer.errors import InputError, MissingExtraError
from dsformer_runtime.errors import UnsupportedModelError
from fixtures.training import QUICK, write_base

MIXED = Setting(3, 20, 2, 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "model", 0.15)


@pytest.fixture(scope="module")
def compressed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dsformer.compress(model, tmp_path_factory.mktemp("models") / "compressed", **QUICK).output


def alone(model: Path, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return AutoModel.from_pretrained(model).eval()(torch.tensor([ids]))[0][0]


def cosine(model: Path, way: str, setting: Setting) -> float:
    """The least over the texts, each of which PyTorch reads alone."""
    contender = open_contender(model, way)
    texts = texts_of(contender.tokenizer, setting)[0]
    dense = [alone(model, ids) for ids in texts]
    pairs = zip(contender.outputs(texts), dense, strict=True)
    return min(float(torch.cosine_similarity(a.flatten(), b.flatten(), 0)) for a, b in pairs)


@pytest.mark.parametrize(
    ("way", "like"),
    [("onnx", 1 - 1e-5), ("onnx-int8", 0.98), ("onnx-fused-int8", 0.98), ("onnx-static-int8", 0.9)],
)
@pytest.mark.parametrize("setting", [Setting(1, 9, 1), MIXED])
def test_onnx_runtime(model: Path, way: str, like: float, setting: Setting):
    assert cosine(model, way, setting) > like


@pytest.mark.parametrize(("way", "like"), [("openvino", 1 - 1e-5), ("openvino-int8", 0.95)])
def test_openvino(model: Path, way: str, like: float):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    assert cosine(model, way, MIXED) > like


def test_ctranslate2(model: Path):
    pytest.importorskip("ctranslate2")
    assert cosine(model, "ctranslate2-int8", MIXED) > 0.98


def test_families_that_ctranslate2_does_not_know(model: Path, tmp_path: Path):
    pytest.importorskip("ctranslate2")
    AlbertModel(AlbertConfig(vocab_size=400, hidden_size=64, num_hidden_layers=1)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"CTranslate2 cannot convert it \(No conversion is .* AlbertConfig\)"):
        open_contender(tmp_path, "ctranslate2-int8")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, int]]:
    """A stand-in for the native runtime, which runs PyTorch; it lists what it was asked for."""
    asked: list[tuple[str | None, int]] = []

    def load_model(directory: Path, dtype: str | None) -> SimpleNamespace:
        if dtype == "bfloat16":
            raise UnsupportedModelError("no bfloat16")
        return SimpleNamespace(encoder=(directory, dtype))

    def open_backend(model: tuple[Path, str | None], name: str, threads: int) -> SimpleNamespace:
        assert name == "native"
        asked.append((model[1], threads))

        def run(ids: np.ndarray, types: None, lengths: np.ndarray) -> np.ndarray:
            texts = np.split(ids, np.cumsum(lengths)[:-1])
            return np.concatenate([alone(model[0], text.tolist()).numpy() for text in texts])

        return SimpleNamespace(run=run)

    monkeypatch.setattr(dsformer_runtime, "load_model", load_model, raising=False)
    monkeypatch.setattr(dsformer_runtime, "open_backend", open_backend, raising=False)
    return asked


def test_native(model: Path, compressed: Path, runtime: list):
    threads = torch.get_num_threads()
    assert cosine(model, "native", MIXED) > 1 - 1e-5
    assert open_contender(model, "native-int8").disk_bytes == (model / "model.safetensors").stat().st_size
    assert runtime == [(None, threads), ("int8", threads)]
    with pytest.raises(InputError, match=r"the native runtime cannot run it \(no bfloat16\)"):
        open_contender(model, "native-bf16")
    # A compressed model has its own types.
    assert possible(compressed, ["native", "native-int8", "onnx-int8"]) == ["native"]


def test_native_gets_no_padding(model: Path, runtime: list):
    ids, lengths = prepared(open_contender(model, "native"), MIXED)
    assert sorted(lengths) == [6, 13, 20]
    assert len(ids) == 39
    assert prepared(open_contender(model), MIXED)["input_ids"].shape == (3, 20)


def test_a_runtime_without_encoders(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dsformer.benchmarking.runtimes.native.dsformer_runtime", SimpleNamespace())
    with pytest.raises(InputError, match="way native: the installed dsformer-runtime does not run whole encoders"):
        open_contender(model, "native")


def test_files_in_the_directory(model: Path, tmp_path: Path):
    # Kept, since the file is removed with it.
    exported = open_contender(model, "onnx")
    assert exported.engine.path is not None
    directory = tmp_path / "model"
    shutil.copytree(model, directory)
    (directory / "onnx").mkdir()
    shutil.copy(exported.engine.path, directory / "onnx" / "model_O3.onnx")
    assert cosine(directory, "onnx/model_O3.onnx", MIXED) > 1 - 1e-5
    with pytest.raises(InputError, match=r"has no onnx/model\.onnx"):
        open_contender(directory, "onnx/model.onnx")
    (directory / "onnx" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="ONNX Runtime cannot run it"):
        open_contender(directory, "onnx/model.onnx")


def test_sizes_are_of_the_files(model: Path):
    plain, small = open_contender(model, "onnx"), open_contender(model, "onnx-int8")
    assert plain.disk_bytes == plain.memory_bytes > 0.9 * (model / "model.safetensors").stat().st_size
    assert small.disk_bytes < 0.5 * plain.disk_bytes


def test_sessions_follow_torchs_threads(model: Path):
    contender = open_contender(model, "onnx")
    assert isinstance(contender.engine, Padded)
    sessions = contender.engine.call
    assert isinstance(sessions, Sessions)
    made: list[int] = []
    make: Callable = sessions._make
    sessions._make = lambda threads: made.append(threads) or make(threads)
    before = torch.get_num_threads()
    try:
        for threads in (before + 1, before + 1, before):
            torch.set_num_threads(threads)
            contender.seconds(prepared(contender, Setting(1, 8, threads)))
    finally:
        torch.set_num_threads(before)
    assert made == [before + 1, before]


def test_export_leaves_the_model_as_it_was(model: Path):
    from dsformer.benchmarking.engines import Opened
    from dsformer.benchmarking.runtimes.exported import Exported

    opened = Opened(model)
    Exported(opened.network, opened.tokenizer)
    assert not any(module.training for module in opened.network.modules())


def test_compressed_models_do_not_run_in_engines_of_others(model: Path, compressed: Path):
    with pytest.raises(InputError, match="way onnx runs dense models only; write one with dsformer densify"):
        open_contender(compressed, "onnx")
    names = [one.name for one in open_contenders([model, compressed], ["eager", "onnx"])]
    assert names == [f"{model} eager", f"{model} onnx", f"{compressed} eager"]
    with pytest.raises(InputError, match="runs dense models only"):
        open_contenders([compressed], ["onnx"])


@pytest.mark.parametrize(("way", "extra"), [("onnx", "onnx"), ("ctranslate2-int8", "ctranslate2")])
def test_missing_packages(model: Path, way: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dsformer.benchmarking.runtimes.exported.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf'pip install "dsformer\[{extra}\]"'):
        open_contender(model, way)
