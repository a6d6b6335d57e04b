import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import dsformer
from dsformer.data.supervised import Examples, SupervisedTask, load_task
from dsformer.errors import InputError, MissingExtraError
from dsformer.evaluation.scoring import score_model
from dsformer.sweep.cell import make_teacher, run_cell
from dsformer.sweep.grid import Cell, Variant
from dsformer.training import finetune as module
from fixtures.training import QUICK, write_sentence_encoder, write_turned

LEARNING = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "bf16": False}


@pytest.fixture
def words(task_file: Path) -> dict[str, Any]:
    return {"task": str(task_file), **LEARNING}


def stopping(step: int) -> Callable[[str, int, int], None]:
    def follow(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("finetune", 24)
        if done == step:
            raise KeyboardInterrupt

    return follow


def test_the_model_is_there_with_its_scores(teacher: Path, task_file: Path, base: Path, words: dict, tmp_path: Path):
    task = load_task(str(task_file))
    model = AutoModelForSequenceClassification.from_pretrained(teacher).eval()
    assert score_model(model, AutoTokenizer.from_pretrained(teacher), task)["accuracy"] > 90
    done = dsformer.finetune(base, tmp_path / "out", **words)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert done.scores == score_model(loaded, AutoTokenizer.from_pretrained(tmp_path / "out"), task)
    assert (done.output, done.task.name, next(iter(done.scores))) == (tmp_path / "out", "reviews.csv", "accuracy")
    assert loaded.config.id2label == {0: "0", 1: "1"}
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in done.model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("trained", [False, True])
def test_tables_are_trained_on_request(trained: bool, base: Path, words: dict, tmp_path: Path):
    done = dsformer.finetune(base, tmp_path / "out", **words, train_embeddings=trained)
    before = module.open_for_task(base, done.task)[0].get_input_embeddings().weight
    assert torch.equal(done.model.get_input_embeddings().weight, before) != trained


def test_a_sentence_encoder_can_be_trained(words: dict, tmp_path: Path):
    done = dsformer.finetune(write_sentence_encoder(tmp_path / "s"), tmp_path / "out", **words)
    assert type(done.model).__name__ == "BertForSequenceClassification"


@pytest.mark.parametrize("step", [10, 18])
def test_an_interrupted_run_goes_on(step: int, base: Path, words: dict, tmp_path: Path):
    words |= {"epochs": 2, "save_steps": 4}
    whole = dsformer.finetune(base, tmp_path / "whole", **words)
    with pytest.raises(KeyboardInterrupt):
        dsformer.finetune(base, tmp_path / "out", **words, progress=stopping(step))
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "out.work"}
    with pytest.raises(InputError, match="holds an unfinished run with other settings"):
        dsformer.finetune(base, tmp_path / "out", **words | {"seed": 1})
    steps: list[int] = []
    again = dsformer.finetune(base, tmp_path / "out", **words, progress=lambda _, done, __: steps.append(done))
    assert steps[0] == step // 4 * 4
    for key, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[key], tensor, rtol=1e-5, atol=1e-6, msg=key)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "out"}


def test_an_output_that_is_there(base: Path, words: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty"):
        dsformer.finetune(base, tmp_path / "out", **words)

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.save_pretrained", full)
        with pytest.raises(OSError, match="disk full"):
            dsformer.finetune(base, tmp_path / "out", **words, overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.work"}
    dsformer.finetune(base, tmp_path / "out", **words, overwrite=True)
    assert not (tmp_path / "out" / "mine.txt").exists()


def test_errors_leave_nothing(base: Path, words: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for model, fields, message in (
        (base, {"task": None}, "^give the task to train on: task$"),
        (base, {"task": "nothing"}, "Unknown task 'nothing'; the tasks are: .*cola"),
        (base, {"text_column": "body"}, "'body'"),
        (base, {"label_column": "class"}, "'class'"),
        (base, {"epochs": 0}, r"^recipe: training\.epochs: "),
        (base, {"epoch": 1}, r"^recipe: training\.epoch: Extra inputs are not permitted"),
        (tmp_path / "nowhere", {}, "nowhere"),
    ):
        with pytest.raises(InputError, match=message):
            dsformer.finetune(model, tmp_path / "out", **words | fields)
        assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("dsformer.training.schedule.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"^Training needs packages .*dsformer\[train\]"):
        dsformer.finetune(base, tmp_path / "out", **words)
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_training_data(base: Path, words: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bare = SupervisedTask("mrpc", "classification", ("a", "b"), None, Examples(("x",), None, (0,)), "accuracy")
    monkeypatch.setattr("dsformer.training.data.load_task", lambda *_, **__: bare)
    with pytest.raises(InputError, match=r"^task mrpc: has no training data here, only data to score on$"):
        dsformer.finetune(base, tmp_path / "out", **words | {"task": "mrpc"})
    assert list(tmp_path.iterdir()) == []


def test_a_corrected_command_is_not_refused(base: Path, words: dict, tmp_path: Path):
    with pytest.raises(InputError):
        dsformer.finetune(tmp_path / "typo", tmp_path / "out", **words)
    dsformer.finetune(base, tmp_path / "out", **words)


def test_a_compressed_model_is_refused(base: Path, words: dict, factorized: Callable, tmp_path: Path):
    with pytest.raises(InputError, match=r"compressed already; give the original one"):
        dsformer.finetune(factorized("free"), tmp_path / "out", **words)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_numbers_the_classes_in_another_way_keeps_them(teacher: Path, words: dict, tmp_path: Path):
    """Fine-tuned, and compressed with training: its rows mean what they meant."""
    turned = write_turned(teacher, tmp_path / "turned")
    words |= {"learning_rate": 1e-5, "epochs": 0.1}
    done = dsformer.finetune(turned, tmp_path / "out", **words)
    assert done.scores["accuracy"] > 90
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert (loaded.config.id2label, loaded.config.label2id) == ({0: "1", 1: "0"}, {"1": 0, "0": 1})
    quick = {**QUICK, "ratio": 1.3}
    trained = dsformer.compress(turned, tmp_path / "small", **quick, training={"train": "fixed", **words})
    assert trained.summary.training.dense > 90
    assert trained.summary.training.trained > 90
    cell = Cell(str(turned), Variant("low_rank"), 1.3, words["task"], 0, (), None, {"training": words}, {})
    make_teacher(cell, tmp_path / "sweep", torch.get_num_threads())
    row = run_cell(cell, tmp_path / "sweep", torch.get_num_threads())
    assert row["dense"]["reviews.csv"] > 90


def test_a_card_and_metrics_beside_the_model(base: Path, words: dict, tmp_path: Path):
    (tmp_path / "held-out.csv").write_text("text,label\na good film,1\na bad film,0\nfine,1\n")
    done = dsformer.finetune(base, tmp_path / "out", **words, evaluation_file=tmp_path / "held-out.csv")
    card = (tmp_path / "out" / "README.md").read_text()
    for text in (
        "# base, fine-tuned on reviews.csv",
        "from transformers import AutoModelForSequenceClassification",
        "## Scores on held-out.csv",
        f"| accuracy | {done.scores['accuracy']:.4g} |",
        "task: reviews.csv",
    ):
        assert text in card, text
    assert str(tmp_path) not in card
    assert "import dsformer" not in card
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics == done.report
    assert (metrics["data"], metrics["examples"], metrics["scores"]) == ("held-out.csv", 3, done.scores)
    assert metrics["per_class"]["1"]["support"] == 2
    small = dsformer.compress(
        tmp_path / "out",
        tmp_path / "small",
        **QUICK,
        training={"train": "fixed", **words, "evaluation_file": tmp_path / "held-out.csv"},
    )
    account = small.summary.training
    assert (account.task, account.scored) == ("reviews.csv", "held-out.csv")
    values = [f"{value:.4g}" for value in (account.dense, account.factorized, account.trained)]
    card = (tmp_path / "small" / "README.md").read_text()
    assert "| task | metric | dense | before training | compressed |" in card
    assert f"| held-out.csv | accuracy | {' | '.join(values)} |" in card
    assert "AutoModelForSequenceClassification.from_pretrained" in card
    metrics = json.loads((tmp_path / "small" / "metrics.json").read_text())
    assert metrics["scores"] == {"accuracy": account.trained}
    assert metrics["data"] == "held-out.csv"
