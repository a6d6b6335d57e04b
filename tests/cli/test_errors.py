import errno
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertTokenizerFast, ElectraConfig, ElectraModel

from dsformer.cli import compress as command


class Unsafe:
    """A pickle of it cannot be loaded as plain tensors."""


@pytest.fixture
def fails(run: Callable, model: Path, quick: list[str], tmp_path: Path) -> Callable[..., str]:
    """Compress with these words; returns the error, after checking that nothing was written."""

    def check(*words: object, source: Path | str = model) -> str:
        before = sorted(tmp_path.rglob("*"))
        error = run("compress", source, "-o", tmp_path / "out", *quick, *words).error
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return check


def test_wrong_recipe_fields(fails: Callable, tmp_path: Path):
    assert "ratio: Input should be greater than 1" in fails("--ratio", "1")
    assert "pattern: 'dense' is not one of free" in fails("--pattern", "dense")
    assert "scope: Input should be 'encoder' or 'all'" in fails("--scope", "half")
    assert "cannot be reached, at most" in fails("--ratio", "1000")


def test_wrong_recipe_files(fails: Callable, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("ratoi: 2")
    assert "ratoi: Extra inputs are not permitted" in fails("--recipe", recipe)
    recipe.write_text("calibration: {txt: a}")
    assert "calibration.txt: Extra inputs are not permitted" in fails("--recipe", recipe)
    recipe.write_text("ratio: [")
    assert "not valid YAML" in fails("--recipe", recipe)
    assert "No such file" in fails("--recipe", tmp_path / "none.yaml")


def test_wrong_calibration_text(fails: Callable, tmp_path: Path):
    empty, table = tmp_path / "empty.txt", tmp_path / "table.csv"
    empty.write_text("")
    table.write_text("id,body\n1,the river\n")
    assert "holds no text" in fails("--calibration-text", empty)
    assert "'text'" in fails("--calibration-text", table, "--calibration-column", "text")
    assert "No such file" in fails("--calibration-text", tmp_path / "none.txt")


def test_wrong_models(fails: Callable, compressed: Path, tmp_path: Path):
    assert "nowhere" in fails(source=tmp_path / "nowhere")
    assert "already" in fails(source=compressed)
    (tmp_path / "bare").mkdir()
    assert str(tmp_path / "bare") in fails(source=tmp_path / "bare")


def test_broken_weights(fails: Callable, model: Path, tmp_path: Path):
    broken = Path(copytree(model, tmp_path / "nan")) / "model.safetensors"
    tensors = load_file(broken)
    tensors["encoder.layer.0.output.dense.weight"][0, 0] = torch.nan
    save_file(tensors, broken, {"format": "pt"})
    assert "encoder.layer.0.output.dense.weight has NaN or Inf values" in fails(source=tmp_path / "nan")


def test_no_linear_layers(fails: Callable, model: Path, tmp_path: Path):
    bare = tmp_path / "bare"
    config = ElectraConfig(vocab_size=60, embedding_size=32, hidden_size=32, num_hidden_layers=0, num_attention_heads=2)
    ElectraModel(config).save_pretrained(bare)
    BertTokenizerFast.from_pretrained(model).save_pretrained(bare)
    assert "no linear layers" in fails(source=bare)
    assert "no linear layer is left" in fails("--exclude", "*")
    assert "no layer fits 'nothing*'" in fails("--include", "nothing*")


def test_unsafe_checkpoint(fails: Callable, model: Path, tmp_path: Path):
    unsafe = Path(copytree(model, tmp_path / "unsafe"))
    (unsafe / "model.safetensors").unlink()
    torch.save({"weight": Unsafe()}, unsafe / "pytorch_model.bin")
    assert "pickle" in fails(source=unsafe)


def test_where_to_write(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    assert "-o / --output" in run("compress", model, *quick).error
    (tmp_path / "file").write_text("")
    assert run("compress", model, "-o", tmp_path / "file", *quick).error == f"{tmp_path / 'file'}: is a file"
    assert (tmp_path / "file").read_text() == ""


def test_wrong_tasks(fails: Callable):
    assert "Unknown task 'glue'" in fails("--evaluate", "glue")
    assert "'scifact'" in fails("--evaluate", "scifact")
    assert "no task given" in fails("--evaluate", ",")


def test_usage(run: Callable, model: Path):
    assert run("compress").code == 2
    assert run("compress", model, "--ratio", "much").code == 2
    assert run("compress", model, "--no-such-flag").code == 2
    assert run("--version").out.startswith("dsformer ")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_what_the_system_refuses(run: Callable, model: Path, tmp_path: Path, monkeypatch, code: int):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code), "/there/out")

    monkeypatch.setattr(command, "run_compress", refuse)
    error = run("compress", model, "-o", tmp_path / "out", "--quiet").error
    assert error.startswith("/there/out: ")
    assert ("the disk is full" in error) == (code == errno.ENOSPC)


def test_interrupted(run: Callable, model: Path, quick: list[str], tmp_path: Path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure", interrupt)
    after = run("compress", model, "-o", tmp_path / "out", "--evaluate", "banking77", *quick)
    assert (after.code, after.err) == (130, f"interrupted, {tmp_path / 'out'} is complete\n")
    monkeypatch.setattr(command, "run_compress", interrupt)
    before = run("compress", model, "-o", tmp_path / "more", "--quiet")
    assert (before.code, before.err) == (130, "interrupted, nothing was written\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "svdd", "--evaluate", "banking77"], "methods: 'svdd' is not one of"),
        (["--methods", "svd@2:4", "--evaluate", "banking77"], "methods: svd has no supports"),
        (["--ratios", "two", "--evaluate", "banking77"], "ratios: 'two' is not a list of numbers"),
        (["--ratio", "2"], "sweep: give --ratios instead of --ratio"),
        (["--task", "mrpc"], "sweep: give --tasks and --seeds"),
        (["--tasks", "mrpc", "--first-seed", "-1"], "first_seed: -1 is not 0 or more"),
        ([], "sweep: give tasks to score on"),
    ],
)
def test_sweeps_that_make_no_sense(run, tmp_path, words, message):
    assert message in run("sweep", "anything", "-o", tmp_path / "out", *words).error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["compress"], "Missing argument 'model'"),
        (["compress", "model", "--nothing"], "No such option: --nothing"),
        (["sweep", "model", "-o", "out", "--seeds", "nan"], "Invalid value for '--seeds'"),
    ],
)
def test_wrong_words(run, words, message):
    error = run(*words).error
    assert message in error
    assert error.endswith("--help)")
