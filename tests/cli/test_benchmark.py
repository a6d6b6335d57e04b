import json
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer

import dsformer
from dsformer.benchmarking.engines import open_contender
from dsformer.benchmarking.run import Setting, batch_of
from fixtures.models import tiny_model

FEW = ("--batch", "1,2", "--length", "8", "--threads", "1", "--seconds", "0")


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
    assert found["measurements"][0]["speedup"] == {"low": 1, "middle": 1, "high": 1}
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_table(run: Callable, model: Path, compressed: Path):
    shown = run("benchmark", model, compressed, *FEW, "--quiet")
    assert shown.code == 0
    assert f"Speed-up over {model} eager" in shown.out
    assert shown.out.count(f"{compressed} eager") == 3


def test_threads_are_put_back(model: Path):
    before = torch.get_num_threads()
    dsformer.benchmark([model], batches=[1], lengths=[8], threads=[before + 1], seconds=0)
    assert torch.get_num_threads() == before


def test_wrong_words(run: Callable, model: Path, tmp_path: Path):
    assert "way 'fast' is not one of eager" in run("benchmark", model, "--ways", "fast", *FEW).error
    assert "--batch: '0' is not a list of numbers from 1" in run("benchmark", model, "--batch", "0").error
    assert "missing" in run("benchmark", tmp_path / "missing", *FEW).error
    long = ("--batch", "1", "--length", "8,100", "--threads", "1", "--seconds", "0")
    assert f"{model} eager: cannot read a text of 100 tokens" in run("benchmark", model, *long).error
    assert "is not a picture of a kind known here" in run("benchmark", model, *FEW, "--plot", "a.x").error
    assert "is not a directory" in run("benchmark", model, *FEW, "--plot", model / "config.json" / "a.png").error


def test_texts_are_as_long_as_asked_whatever_there_is(model: Path):
    contender = open_contender(model)
    assert batch_of(contender, Setting(2, 50_000, 1))["input_ids"].shape == (2, 50_000)


def test_a_decoder_is_given_the_same_text(tmp_path: Path, model: Path):
    tiny_model("T5ForConditionalGeneration").save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    found = dsformer.benchmark([tmp_path], batches=[1], lengths=[8], threads=[1], seconds=0)
    assert found[0].setting == Setting(1, 8, 1)
    batch = batch_of(open_contender(tmp_path), Setting(2, 8, 1))
    assert torch.equal(batch["decoder_input_ids"], batch["input_ids"])
    assert "decoder_input_ids" not in batch_of(open_contender(model), Setting(2, 8, 1))
