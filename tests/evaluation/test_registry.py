import json
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from dsformer.cli.scores import score_table
from dsformer.data.supervised import Columns, Examples, SupervisedTask, load_task
from dsformer.errors import InputError
from dsformer.evaluation import TASKS, Inputs, Score, Task, evaluate
from dsformer.models.heads import open_for_task
from dsformer.report.rows import ScoreRow
from fixtures.training import write_base, write_sentence_encoder


@pytest.fixture
def counting_task() -> Iterator[str]:
    """A task added from outside, which gives back the limit as its value."""

    def measure(inputs: Inputs) -> Score:
        time.sleep(0.05)
        return Score("counting", "limit", float(inputs.limit or 0), None, len(inputs.encode(["a", "b"])))

    TASKS["counting"] = Task(measure)
    yield "counting"
    del TASKS["counting"]


def test_a_registered_task_runs_and_is_timed(counting_task: str, word_encoder):
    score = evaluate(word_encoder(), [counting_task], limit=7)[counting_task]
    assert (score.value, score.count) == (7, 2)
    assert score.seconds >= 0.05


def test_scores_come_in_the_order_asked_for(counting_task: str, word_encoder):
    encoder = word_encoder()
    assert list(evaluate(encoder, ["fidelity", counting_task], original=encoder, limit=2)) == ["fidelity", "counting"]


def test_fidelity_of_a_model_to_itself_and_to_a_noisy_copy(word_encoder):
    encoder = word_encoder()
    same = evaluate(encoder, ["fidelity"], original=encoder, limit=20)["fidelity"]
    assert same.value == pytest.approx(100, abs=1e-4)
    assert same.spread == pytest.approx(0, abs=1e-3)
    assert same.count == 20
    noisy = evaluate(word_encoder(noise=1.0), ["fidelity"], original=encoder, limit=20)["fidelity"]
    assert 50 < noisy.value < 99


def test_fidelity_of_models_of_different_width(word_encoder):
    with pytest.raises(InputError, match="differ in width: 8 and 4"):
        evaluate(word_encoder(8), ["fidelity"], original=word_encoder(4), limit=2)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["bank"], {}, "Unknown task 'bank'; the tasks are: banking77, stsb, scifact, fidelity"),
        ([], {}, "Give a list of tasks out of: banking77"),
        ("stsb", {}, "Give a list of tasks out of: banking77"),
        (["banking77"], {"limit": 0}, "limit must be at least 1, not 0"),
        (["fidelity"], {}, "'fidelity' compares the model to the one it was made from: give the original too"),
        (["scifact"], {}, "'scifact' is not bundled: --data-dir"),
    ],
)
def test_bad_requests_are_refused_before_the_model_is_loaded(tasks, options, message, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path / "no model here", tasks, **options)


def test_missing_data_is_named(word_encoder):
    with pytest.raises(InputError, match="'glue-stsb' is not bundled: --data-dir"):
        evaluate(word_encoder(), ["banking77", "stsb"])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with MRPC's head, beside a data directory with some of its pairs."""
    place = tmp_path_factory.mktemp("mrpc")
    base, data = write_base(place / "base"), place / "data" / "glue-mrpc"
    data.mkdir(parents=True)
    rows = [f"{i % 2}\t1\t2\ta good film\ta {('bad', 'fine')[i % 2]} plot" for i in range(10)]
    (data / "dev.tsv").write_text("\n".join(["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", *rows]))
    model, tokenizer = open_for_task(base, load_task("mrpc", place / "data"))
    for part in (model, tokenizer):
        part.save_pretrained(place / "model")
    return place


def test_tasks_of_heads_and_of_embeddings_side_by_side(classifier: Path):
    pytest.importorskip("sentence_transformers")
    model = classifier / "model"
    scores = evaluate(model, ["fidelity", "mrpc"], classifier / "data", original=model, limit=6)
    assert list(scores) == ["fidelity", "mrpc"]
    assert scores["fidelity"].value == pytest.approx(100, abs=1e-4)
    assert scores["mrpc"].metric == "f1"
    assert scores["mrpc"].count == 6


def test_a_limit_is_looked_at_whatever_the_model(classifier: Path):
    with pytest.raises(InputError, match="limit must be at least 1, not -1"):
        evaluate(classifier / "model", ["mrpc"], classifier / "data", limit=-1)


def test_a_directory_that_is_no_model(tmp_path: Path):
    with pytest.raises(InputError, match=str(tmp_path)) as error:
        evaluate(tmp_path, ["mrpc"])
    assert "\n" not in str(error.value)


def test_an_encoder_whose_configuration_names_a_language_model(tmp_path: Path):
    """As that of all-mpnet-base-v2 does: it is an encoder all the same."""
    pytest.importorskip("sentence_transformers")
    model = write_sentence_encoder(tmp_path / "encoder")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    scores = evaluate(model, ["banking77", "fidelity"], original=model, limit=300)
    assert scores["banking77"].count == 300
    assert scores["fidelity"].value == pytest.approx(100, abs=1e-4)


def test_classes_in_the_order_of_the_model(classifier: Path, monkeypatch: pytest.MonkeyPatch):
    """What is scored is the name of a class, not its number."""
    examples = Examples(tuple(f"film {i}" for i in range(20)), None, tuple(i % 3 for i in range(20)))
    task = SupervisedTask("mnli", "classification", ("yes", "maybe", "no"), None, examples, "accuracy")
    monkeypatch.setattr("dsformer.evaluation.supervised.load_task", lambda *_: task)
    model, tokenizer = open_for_task(classifier / "base", task)
    values = []
    for place, order in (("own", [0, 1, 2]), ("other", [2, 0, 1])):
        with torch.no_grad():
            model.classifier.bias.copy_(torch.tensor([5.0, 0.0, -5.0])[order])
            model.classifier.weight.zero_()
        model.config.id2label = {i: task.labels[old] for i, old in enumerate(order)}
        for part in (model, tokenizer):
            part.save_pretrained(classifier / place)
        values.append(evaluate(classifier / place, ["mnli"])["mnli"].value)
    assert values == [pytest.approx(35), pytest.approx(35)]


@pytest.fixture
def own(classifier: Path, tmp_path: Path) -> Path:
    """A classifier of classes of its own."""
    labels = Examples(("a",), None, (0,))
    task = SupervisedTask("own", "classification", ("neg", "neutral", "pos"), None, labels, "accuracy")
    model, tokenizer = open_for_task(classifier / "base", task)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
        model.classifier.weight.zero_()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "own")
    return tmp_path / "own"


def test_a_file_of_texts_and_labels(own: Path, tmp_path: Path):
    """All of it, also if some of the model's classes are missing, under any names of columns."""
    (tmp_path / "mine.csv").write_text("body,stars\na good film,Pos\na bad film,neg\nfine,Pos\ndull,neg\nnice,Pos\n")
    path = str(tmp_path / "mine.csv")
    score = evaluate(own, [path], columns=Columns("body", label="stars"))[path]
    assert (score.metric, score.count, score.value) == ("accuracy", 5, pytest.approx(60))
    (tmp_path / "other.csv").write_text("text,label\na good film,cat\na bad film,dog\n")
    with pytest.raises(InputError, match=r"classes \('neg', 'neutral', 'pos'\) are not those of the task other\.csv"):
        evaluate(own, [str(tmp_path / "other.csv")])


def test_what_can_be_done_is_said(own: Path, word_encoder, tmp_path: Path):
    with pytest.raises(
        InputError, match=r"not those of the task banking77 .*score it on .* its own: --tasks FILE\.csv"
    ):
        evaluate(own, ["banking77"])
    with pytest.raises(InputError, match=r"mine\.csv: a file is scored by a model's own head, .*dsformer finetune"):
        evaluate(word_encoder(), ["mine.csv"])
    with pytest.raises(InputError, match=r"Unknown task 'mine'; .*a file of texts and labels .*DIR/scifact"):
        evaluate(word_encoder(), ["mine"])


def test_where_data_of_the_users_came_from_is_said(word_encoder, tmp_path: Path):
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "one two"}\n{"_id": "d2", "text": "three"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "one"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    scores = evaluate(word_encoder(), ["scifact", "banking77"], tmp_path, limit=100)
    assert scores["scifact"].data == str(folder)
    assert scores["banking77"].data is None
    row = ScoreRow("scifact", "nDCG@10", None, 100.0, None, 1, scores["scifact"].data)
    out = StringIO()
    Console(file=out, width=400).print(score_table([row]))
    assert f"scifact ({folder})" in out.getvalue()
