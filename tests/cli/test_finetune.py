import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from dsformer.cli import finetune as command
from dsformer.data.supervised import Examples, SupervisedTask

LEARNING = ["--epochs", "1", "--batch-size", "32", "--learning-rate", "1e-3", "--no-bf16"]


@pytest.fixture
def fails(run: Callable, base: Path, task_file: Path, tmp_path: Path) -> Callable[..., str]:
    """Fine-tune with these words; returns the one line of the error, after checking that nothing was written."""

    def check(*words: object, source: Path = base, task: Path | str = task_file) -> str:
        before = sorted(tmp_path.rglob("*"))
        error = run("finetune", source, "-o", tmp_path / "out", "--task", task, "--quiet", *LEARNING, *words).error
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return check


def test_trains_and_shows_the_scores(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    done = run("finetune", base, "-o", tmp_path / "out", "--task", task_file, *LEARNING)
    assert done.code == 0
    assert "reviews.csv" in done.out
    assert "accuracy" in done.out
    assert done.out.rstrip().endswith(f"Model: {tmp_path / 'out'}")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_json_is_all_there_is_on_standard_output(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    done = run("finetune", base, "-o", tmp_path / "out", "--task", task_file, "--json", "--quiet", *LEARNING)
    found = json.loads(done.out)
    assert found["output"] == str(tmp_path / "out")
    assert found["task"] == "reviews.csv"
    counts = found["confusion"]["counts"]
    assert sum(map(sum, counts)) == found["examples"]
    right = sum(row[label] for label, row in enumerate(counts))
    assert found["scores"]["accuracy"] == pytest.approx(100 * right / found["examples"])
    assert isinstance(found["seconds"], float)
    assert done.err == ""


def test_flags_override_the_recipe_file(run: Callable, base: Path, task_file: Path, tmp_path: Path, monkeypatch):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"training: {{task: {task_file}, epochs: 7, batch_size: 64, seed: 3}}")
    asked = {}

    def stop(*_: object, **given: object) -> None:
        asked.update(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("dsformer.pipeline.finetune.finetune", stop)
    run("finetune", base, "-o", tmp_path / "out", "--recipe", recipe, *LEARNING)
    training = asked["recipe"].training
    assert (training.task, training.seed) == (str(task_file), 3)
    assert (training.epochs, training.batch_size, training.learning_rate, training.bf16) == (1, 32, 1e-3, False)


def test_every_field_is_a_flag(run: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = run("finetune", "--help").out
    for name in command.FIELDS:
        assert f"--{name.replace('_', '-')}" in shown
    assert "--ratio" not in shown


def test_wrong_tasks(fails: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "Unknown task 'nothing'; the tasks are: " in fails(task="nothing")
    assert "No such file" in fails(task=tmp_path / "none.csv")
    assert "'class'" in fails("--label-column", "class")
    assert "'body'" in fails("--text-column", "body")
    bare = SupervisedTask("mrpc", "classification", ("a", "b"), None, Examples(("x",), None, (0,)), "accuracy")
    monkeypatch.setattr("dsformer.training.data.load_task", lambda *_, **__: bare)
    assert fails(task="mrpc") == "task mrpc: has no training data here, only data to score on"


def test_wrong_fields_and_models(fails: Callable, tmp_path: Path):
    assert "training.epochs: Input should be greater than 0" in fails("--epochs", "0")
    assert "nowhere" in fails(source=tmp_path / "nowhere")
    bare = tmp_path / "bare"
    bare.mkdir()
    assert str(bare) in fails(source=bare)


def test_nothing_to_do(run: Callable, base: Path, task_file: Path, tmp_path: Path):
    assert "give the task to train on: task" in run("finetune", base, "-o", tmp_path / "out", "--quiet").error
    assert "-o / --output" in run("finetune", base, "--task", task_file).error


def test_without_accelerate(fails: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dsformer.training.schedule.find_spec", lambda name: None)
    assert fails() == 'Training needs packages that are not installed: pip install "dsformer[train]"'


def test_interrupted(run: Callable, base: Path, task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dsformer.pipeline.finetune.train_dense", interrupt)
    done = run("finetune", base, "-o", tmp_path / "out", "--task", task_file, "--quiet")
    assert done.code == 130
    assert done.err.startswith("interrupted, ")
