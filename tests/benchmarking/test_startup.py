import runpy
import sys
from pathlib import Path

import pytest
import torch

from dsformer.benchmarking import open_contender, open_contenders
from dsformer.benchmarking.startup import PROGRAMS, SENTENCE, program, start_up
from dsformer.benchmarking.timing import LEAST_ROUNDS
from dsformer.errors import InputError
from fixtures.training import write_base


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "model", 0.15)


def test_processes_of_their_own(model: Path):
    contenders = open_contenders([model], ["onnx", "onnx-int8", "compile"])
    found = start_up(contenders, [1])
    assert [one.contender for one in found] == [f"{model} onnx", f"{model} onnx-int8"]
    for one in found:
        assert (one.threads, one.rounds) == (1, LEAST_ROUNDS)
        assert one.median > 0
        # An interpreter with ONNX Runtime, but not this one with torch.
        assert 20e6 < one.memory_bytes < 200e6


@pytest.mark.parametrize("name", ["native", "onnx", "openvino", "ctranslate2"])
def test_engines_get_no_torch(name: str):
    text = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    assert "import torch" not in text
    assert "transformers" not in text


@pytest.mark.parametrize(
    ("way", "name"),
    [("fp32", "pytorch.py"), ("onnx", "onnx.py"), ("openvino", "openvino.py"), ("ctranslate2-int8", "ctranslate2.py")],
)
def test_programs(model: Path, way: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if way.startswith(("openvino", "ctranslate2")):
        pytest.importorskip(name.removesuffix(".py"))
    threads = torch.get_num_threads()
    contender = open_contender(model, way)
    command = program(contender, threads, tmp_path)
    assert command is not None
    assert command[0] == str(PROGRAMS / name)
    assert command[3:] == [str(threads), SENTENCE]
    monkeypatch.setattr(sys, "argv", ["-c", *command])
    runpy.run_path(command[0])


def test_the_type_of_pytorch(model: Path, tmp_path: Path):
    command = program(open_contender(model, "bf16"), 2, tmp_path)
    assert command == [str(PROGRAMS / "pytorch.py"), str(model), "bfloat16", "2", SENTENCE]


def test_a_program_that_fails(model: Path, monkeypatch: pytest.MonkeyPatch):
    contender = open_contender(model, "onnx")
    assert contender.engine.path is not None
    contender.engine.path.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"onnx\.py: start-up of .*model\.onnx failed \(onnxruntime"):
        start_up([contender], [1])
