"""``compress --train``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import dsformer
from dsformer.format.precision import FACTORS
from fixtures.processes import together
from fixtures.training import write_sentence_encoder, write_texts

LEARNING = ["--epochs", "1", "--batch-size", "32", "--learning-rate", "1e-3", "--no-bf16"]
FAST = [*LEARNING, "--ratio", "2", "--iterations", "2", "--screening", "1", "--allocation", "uniform", "--quiet"]


@pytest.fixture
def fails(run: Callable, base: Path, tmp_path: Path) -> Callable[..., str]:
    def check(*words: object, source: Path = base) -> str:
        before = sorted(tmp_path.rglob("*"))
        error = run("compress", source, "-o", tmp_path / "out", *FAST, *words).error
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return check


def test_a_base_model_learns_a_task(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    done = run("compress", base, "-o", tmp_path / "out", "--train", "stf", "--task", task_file, *FAST)
    assert done.code == 0
    assert "Learned with stf in 3 steps" in done.out
    assert "on reviews.csv (distillation: logits+hidden)" in done.out
    assert "accuracy: dense " in done.out
    assert "texts of reviews.csv" in done.out
    assert done.err == ""
    assert type(dsformer.load(tmp_path / "out")).__name__ == "BertForSequenceClassification"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("factors", FACTORS)
def test_factors_are_rounded_when_they_have_learned(
    factors: str, run: Callable, base: Path, task_file: Path, tmp_path: Path
):
    words = ["--train", "fixed", "--task", task_file, "--factors", factors, "--json"]
    summary = json.loads(run("compress", base, "-o", tmp_path / "out", *words, *FAST).out)
    assert summary["training"]["steps"] == 3
    assert {block.precision for block in dsformer.load(tmp_path / "out").config.quantization_config.blocks} == {
        FACTORS[factors]
    }
    found = json.loads(run("inspect", tmp_path / "out", "--json").out)
    assert (found["differences"], found["bytes_after"]) == ([], summary["bytes_after"])


def test_two_processes_compress_one_model(base: Path, task_file: Path, tmp_path: Path):
    program = "from dsformer.cli.main import run; run()"
    words = ["compress", base, "-o", tmp_path / "out", "--train", "stf", "--latent-rate", "1e-4", "--task", task_file]
    first, second = together("-c", program, *map(str, [*words, *FAST]))
    assert "Learned with stf in 2 steps" in first
    assert second == ""
    assert type(dsformer.load(tmp_path / "out")).__name__ == "BertForSequenceClassification"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_training_is_shared(fails: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert fails() == "only training can be shared by several processes; start this without torchrun"


def test_the_account_as_json(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    words = ["--train", "fixed", "--task", task_file, "--distill", "none", "--report", tmp_path / "page.html"]
    summary = json.loads(run("compress", base, "-o", tmp_path / "out", "--json", *words, *FAST).out)
    training = summary["training"]
    assert (training["learner"], training["distill"], training["task"]) == ("fixed", "none", "reviews.csv")
    assert training["steps"] == 3
    score = {"task": "reviews.csv", "metric": "accuracy"}
    stored = dsformer.load(tmp_path / "out").config.quantization_config.summary
    names = {"dense": "dense", "factorized": "factorized", "compressed": "trained"}
    assert stored["scores"] == [score | {name: training[key] for name, key in names.items()}]
    command = "--train fixed --task"
    assert command in (tmp_path / "page.html").read_text()


def test_a_sentence_encoder_is_distilled(run: Callable, tmp_path: Path):
    source, texts = write_sentence_encoder(tmp_path / "source"), write_texts(tmp_path / "texts.txt", 64)
    done = run("compress", source, "-o", tmp_path / "out", "--train", "distill", "--text", texts, *FAST)
    assert done.code == 0
    assert "following the dense model (embeddings+hidden)" in done.out
    assert json.loads((tmp_path / "out" / "modules.json").read_text())[1]["path"] == "1_Pooling"


def test_what_is_missing(fails: Callable, task_file: Path, tmp_path: Path):
    assert fails("--train", "distill") == "recipe: training: train distill needs plain text: text"
    assert fails("--train", "stf") == "recipe: training: train stf needs a task: task"
    assert fails("--train", "all").startswith("recipe: training.train: 'all' is not one of none, distill, fixed")
    message = fails("--train", "stf", "--task", task_file, "--distill", "logits+values")
    assert message.startswith("recipe: training.distill: 'values' is not one of logits")
    assert "Unknown task 'nothing'" in fails("--train", "stf", "--task", "nothing")
    assert "No such file" in fails("--train", "distill", "--text", tmp_path / "none.txt")


def test_terms_a_model_cannot_have(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    words = ["--train", "fixed", "--task", task_file, "--distill", "embeddings"]
    error = run("compress", base, "-o", tmp_path / "out", *words, *FAST).error
    assert "embeddings need a model without a head" in error
    assert not (tmp_path / "out").exists()


def test_without_accelerate(fails: Callable, task_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dsformer.training.schedule.find_spec", lambda name: None)
    error = fails("--train", "stf", "--task", task_file)
    assert error == 'Training needs packages that are not installed: pip install "dsformer[train]"'


def test_interrupted(run: Callable, base: Path, task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = ["compress", base, "-o", tmp_path / "out", "--train", "fixed", "--task", task_file, *FAST]
    with monkeypatch.context() as patch:
        patch.setattr("dsformer.training.loop.learn", interrupt)
        stopped = run(*words)
    kept = f"{tmp_path / 'out'}.work keeps what is done; the same command goes on from there"
    assert (stopped.code, stopped.err) == (130, f"interrupted, {kept}\n")
    other = run(*words, "--seed", "1").error
    assert "holds an unfinished run with other settings" in other
    assert run(*words).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_task_without_training_is_calibrated_on(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    """By its text, not by that of books; and so is a text to distil on."""
    text = write_texts(tmp_path / "texts.txt", 64)
    tokens = []
    for words, said in (
        (["--task", task_file], "texts of reviews.csv, up to"),
        (["--text", text], "texts of texts.txt, up to"),
        (["--task", task_file, "--calibration-count", "5"], "texts of reviews.csv (at most 5), up to"),
        (["--task", task_file, "--calibration-text", text], f"at most 256 passages of {text}, up to"),
    ):
        done = run("compress", base, "-o", tmp_path / "out", "--overwrite", *words, *FAST)
        line = " ".join(done.out.split())
        assert f"Calibration: {said}" in line
        tokens.append(int(line.split(" tokens seen")[0].rsplit(" ", 1)[1].replace(",", "")))
    # Four to eight words and two special tokens a text; 90 of the 100 rows are trained on.
    assert 90 * 6 <= tokens[0] <= 90 * 10
    assert 64 * 6 <= tokens[1] == tokens[3]
    assert 5 * 6 <= tokens[2] <= 5 * 10
    missing = run("compress", base, "-o", tmp_path / "other", "--task", tmp_path / "none.csv", *FAST).error
    assert "No such file" in missing
