import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from transformers import AutoTokenizer

import dsformer
from dsformer.benchmarking.engines import open_contender
from dsformer.benchmarking.run import Setting, prepared
from dsformer.ops.cpu import describe
from dsformer.utils.hardware import processor
from fixtures.models import tiny_model

FEW = ("--batch", "1,2", "--length", "8", "--threads", "1", "--seconds", "0", "--compare", "4")


def test_models_in_turn(run: Callable, model: Path, compressed: Path, tmp_path: Path):
    done = run("benchmark", model, compressed, "--ways", "eager,bf16", *FEW, "--json", "--plot", tmp_path / "a.png")
    found = json.loads(done.out)
    names = [f"{model} eager", f"{model} bf16", f"{compressed} eager", f"{compressed} bf16"]
    assert [one["name"] for one in found["models"]] == names
    assert found["models"][0]["disk_bytes"] == (model / "model.safetensors").stat().st_size
    assert found["models"][2]["memory_bytes"] < found["models"][0]["memory_bytes"]
    assert found["models"][1]["memory_bytes"] < 0.6 * found["models"][0]["memory_bytes"]
    assert [one["contender"] for one in found["measurements"]] == names * 2
    for one in found["measurements"]:
        assert 0 < one["median"] <= one["p95"]
        assert one["throughput"] == 8 * one["setting"]["batch"] / one["median"]
        assert one["kernels"] == describe()
        assert one["processor"] == {"name": processor().name, "features": list(processor().features)}
        assert one["agreement"]["first"]["least"] <= one["agreement"]["first"]["mean"] <= 1 + 1e-9
        assert one["agreement"]["own"]["least"] > 0.9
    assert found["measurements"][0]["speedup"] == {"low": 1, "middle": 1, "high": 1}
    assert found["measurements"][0]["agreement"]["first"]["least"] == pytest.approx(1)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_table(run: Callable, model: Path, compressed: Path):
    shown = run("benchmark", model, compressed, *FEW, "--quiet")
    assert shown.code == 0
    assert f"Speed-up over {model} eager" in shown.out
    assert f"Forward pass on {processor()}, kernels {describe()}" in shown.out
    assert shown.out.count(f"{compressed} eager") == 3


def test_mixed_lengths_and_threads(run: Callable, model: Path):
    shown = run("benchmark", model, "--cells", "1x8,4x4-12", "--threads", "1,2", *FEW[-4:], "--json")
    found = json.loads(shown.out)["measurements"]
    assert [one["setting"] for one in found] == [
        {"batch": batch, "length": length, "threads": threads, "shortest": shortest}
        for batch, length, shortest in ((1, 8, None), (4, 12, 4))
        for threads in (1, 2)
    ]
    assert found[2]["throughput"] == (12 + 10 + 7 + 4) / found[2]["median"]
    assert found[2]["agreement"] == found[3]["agreement"]


def test_start_up_and_scores(run: Callable, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dsformer.benchmarking.startup._run", lambda command, threads, peaks: peaks.append(8) or 0.5)
    monkeypatch.setattr("dsformer.benchmarking.scores.evaluate", lambda *_, **__: {"banking77": Mock(value=61.25)})
    more = ("--startup", "--evaluate", "banking77", "--compare", "0")
    found = json.loads(run("benchmark", model, *FEW, *more, "--json").out)
    own = {"contender": f"{model} eager", "threads": 1, "median": 0.5, "memory_bytes": 8, "rounds": 5}
    assert found["startup"] == [own | {"processor": found["measurements"][0]["processor"]}]
    assert found["models"][0]["score"] == 61.25
    assert found["measurements"][0]["agreement"] is None
    shown = run("benchmark", model, *FEW, *more, "--quiet").out
    assert "A new process that embeds one sentence" in shown
    assert "0.50 s" in shown
    assert "61.25" in shown
    assert "cosine" not in shown


def test_threads_are_put_back(model: Path):
    before = torch.get_num_threads()
    dsformer.benchmark([model], batches=[1], lengths=[8], threads=[before + 1], seconds=0, compare=4)
    assert torch.get_num_threads() == before


def test_wrong_words(run: Callable, model: Path, tmp_path: Path):
    assert "way 'fast' is not one of eager" in run("benchmark", model, "--ways", "fast", *FEW).error
    assert "--batch: '0' is not a list of numbers from 1" in run("benchmark", model, "--batch", "0").error
    for cell in ("8", "1x", "0x8", "1x9-8", "1x8-"):
        assert f"--cells: '{cell}' is not a list" in run("benchmark", model, "--cells", cell).error
    assert "--length: '8-4' is not a list" in run("benchmark", model, "--length", "8-4").error
    assert "missing" in run("benchmark", tmp_path / "missing", *FEW).error
    long = ("--batch", "1", "--length", "8,100", "--threads", "1", "--seconds", "0")
    assert f"{model} eager: cannot read a text of 100 tokens" in run("benchmark", model, *long).error
    assert "is not a picture of a kind known here" in run("benchmark", model, *FEW, "--plot", "a.x").error
    assert "is not a directory" in run("benchmark", model, *FEW, "--plot", model / "config.json" / "a.png").error


def test_texts_are_as_long_as_asked_whatever_there_is(model: Path):
    assert prepared(open_contender(model), Setting(2, 50_000, 1))["input_ids"].shape == (2, 50_000)


def test_a_decoder_is_given_the_same_text(tmp_path: Path, model: Path):
    tiny_model("T5ForConditionalGeneration").save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    found = dsformer.benchmark([tmp_path], batches=[1], lengths=[8], threads=[1], seconds=0, compare=4)
    assert found[0].setting == Setting(1, 8, 1)
    batch = prepared(open_contender(tmp_path), Setting(2, 8, 1))
    assert torch.equal(batch["decoder_input_ids"], batch["input_ids"])
    assert "decoder_input_ids" not in prepared(open_contender(model), Setting(2, 8, 1))
