import gzip
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from dsformer.calibration.config import CalibrationConfig
from dsformer.data.supervised import Examples, SupervisedTask, load_task
from dsformer.errors import InputError
from dsformer.evaluation.scoring import score_model
from dsformer.models.heads import open_for_task
from dsformer.models.source import open_source
from dsformer.training.config import TrainingConfig
from dsformer.training.data import TrainingData, load_training_task, tokenize_task, tokenize_text
from fixtures.models import tiny_model
from fixtures.training import reviews


def settings(task: Path | str, **fields: object) -> TrainingConfig:
    return TrainingConfig(task=str(task), **fields)


def test_the_columns_of_a_file(tmp_path: Path):
    rows = [f"{'ab'[i % 2]}\t{i % 2}\tfilm {i}\tplot {i}" for i in range(12)]
    (tmp_path / "t.tsv").write_text("\n".join(["noise\tclass\tone\ttwo", *rows]))
    task = load_training_task(
        settings(tmp_path / "t.tsv", text_column="one", pair_column="two", label_column="class"), data_dir=None
    )
    assert task.labels == ("0", "1")
    assert task.train is not None
    assert task.train.texts[0].startswith("film")
    assert task.train.pairs is not None
    assert task.train.pairs[0].startswith("plot")


def test_whole_numbers_may_be_a_regression(task_file: Path):
    assert load_training_task(settings(task_file), None).kind == "classification"
    assert load_training_task(settings(task_file, task_kind="regression"), None).kind == "regression"


def test_an_evaluation_file(task_file: Path, tmp_path: Path):
    (tmp_path / "e.csv").write_text("text,label\na good film,1\na bad film,0\n")
    task = load_training_task(settings(task_file, evaluation_file=tmp_path / "e.csv"), data_dir=None)
    assert task.train is not None
    assert (len(task.train), len(task.evaluation)) == (400, 2)


def test_tasks_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="Unknown task 'nothing'"):
        load_training_task(settings("nothing"), None)
    with pytest.raises(InputError, match="No such file"):
        load_training_task(settings(tmp_path / "none.csv"), None)
    (tmp_path / "t.csv").write_text("text,class\na,1\n")
    with pytest.raises(InputError, match="'label'"):
        load_training_task(settings(tmp_path / "t.csv"), None)
    bare = SupervisedTask("sst2", "classification", ("a", "b"), None, Examples(("x",), None, (0,)), "accuracy")
    monkeypatch.setattr("dsformer.training.data.load_task", lambda *_, **__: bare)
    with pytest.raises(InputError, match="task sst2: has no training data here"):
        load_training_task(settings("sst2"), None)


def test_examples_of_a_task(task_file: Path, base: Path):
    source = open_source(base)
    task = load_task(str(task_file))
    chosen = settings(task_file, examples=20, length=8)
    data = tokenize_task(task, chosen, source.tokenizer, source.model)
    assert len(data.features) == len(data.texts) == 20
    assert set(data.texts) < {text for text, _ in reviews(400)}
    batch = data.collate([data.features[i] for i in range(4)])
    assert batch["input_ids"].shape[1] <= 8
    assert batch["labels"].shape == (4,)
    assert tokenize_task(task, chosen, source.tokenizer, source.model).texts == data.texts


def test_plain_text(text_file: Path, base: Path):
    source = open_source(base)
    data = tokenize_text(TrainingConfig(text=text_file, examples=10, length=8), source.tokenizer, source.model)
    assert data.texts == [text for text, _ in reviews(10)]
    assert max(len(feature["input_ids"]) for feature in data.features) == 8
    batch = data.collate(list(data.features))
    assert "labels" not in batch
    assert batch["attention_mask"].shape == batch["input_ids"].shape == (10, 8)


def test_plain_text_may_be_compressed(text_file: Path, base: Path, tmp_path: Path):
    packed = tmp_path / "t.txt.gz"
    packed.write_bytes(gzip.compress(text_file.read_bytes()))
    source = open_source(base)
    both = [TrainingConfig(text=file, examples=10) for file in (text_file, packed)]
    texts = [tokenize_text(one, source.tokenizer, source.model).texts for one in both]
    assert texts[0] == texts[1]


def test_text_of_a_column(base: Path, tmp_path: Path):
    (tmp_path / "t.csv").write_text("id,body\n1,a good film\n2,a bad plot\n")
    source = open_source(base)
    words = (source.tokenizer, source.model)
    data = tokenize_text(TrainingConfig(text=tmp_path / "t.csv", text_column="body"), *words)
    assert data.texts == ["a good film", "a bad plot"]
    with pytest.raises(InputError, match="'text'"):
        tokenize_text(TrainingConfig(text=tmp_path / "t.csv"), *words)


def test_a_score_is_the_same_whatever_the_batches(teacher: Path, task_file: Path):
    task = load_task(str(task_file))
    model, tokenizer = open_for_task(teacher, task)
    model.train()
    scores = [score_model(model, tokenizer, task, batch_size=size) for size in (1, 7, 64)]
    assert model.training
    assert scores[0] == scores[1] == scores[2]
    assert scores[0]["accuracy"] > 90
    assert task.train is not None
    few = task.train.select(range(10))
    assert score_model(model, tokenizer, task, few)["accuracy"] in [10.0 * i for i in range(11)]


def test_perplexity_counts_every_token_once(base: Path, text_file: Path):
    texts = tuple(text_file.read_text().split("\n"))
    task = SupervisedTask("toy", "masked_lm", (), None, Examples(texts), "perplexity")
    model, tokenizer = open_for_task(base, task)
    scores = [score_model(model, tokenizer, task, length=16, batch_size=size)["perplexity"] for size in (1, 5)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    assert 1 < scores[0] < 2 * len(tokenizer)


def test_answers_of_contexts_of_different_length(base: Path):
    contexts = ("the film was good", "the plot is a dull story the film was nice")
    targets = ((("good", 13),), (("nice", 40),))
    examples = Examples(("was the film good", "is the plot dull"), contexts, targets, ("a", "b"))
    task = SupervisedTask("toy", "question_answering", (), examples, examples, "f1")
    model, tokenizer = open_for_task(base, task)
    with torch.no_grad():
        alone, together = (score_model(model, tokenizer, task, length=32, batch_size=size) for size in (1, 2))
    assert alone == together
    assert set(alone) == {"f1", "exact"}


def test_a_sample_is_spread_over_all_the_data():
    features = [{"input_ids": [0] * 10} for _ in range(100)]
    data = TrainingData(features, DataCollatorWithPadding, [str(i) for i in range(100)])
    assert data.sample(CalibrationConfig()) == data.texts
    drawn = [int(text) for text in data.sample(CalibrationConfig(count=70))]
    assert len(drawn) == 70
    # Four times 256 passages of two tokens.
    data = TrainingData(features[:1] * 1000, DataCollatorWithPadding, [str(i) for i in range(1000)])
    assert len(data.sample(CalibrationConfig(length=2))) == 205
    assert min(drawn) == 0
    assert max(drawn) >= 98


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForSequenceClassification", "GPT2LMHeadModel"])
def test_texts_are_cut_to_what_the_model_takes(name: str, tmp_path: Path):
    """Whatever the tokenizer says of it, which may be nothing."""
    tiny_model(name).save_pretrained(tmp_path / "model")
    bare = Tokenizer(WordLevel({"<unk>": 0, "<pad>": 1, "film": 2}, unk_token="<unk>"))
    bare.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", pad_token="<pad>").save_pretrained(
        tmp_path / "model"
    )
    long = tuple("film " * count for count in (100, 60, 3, 3))
    examples = Examples(long, None, (0, 1, 0, 1))
    task = SupervisedTask("toy", "classification", ("a", "b"), examples, examples, "accuracy")
    model, tokenizer = open_for_task(tmp_path / "model", task)
    model.eval()
    assert score_model(model, tokenizer, task)["accuracy"] in (0, 25, 50, 75, 100)
    (tmp_path / "t.txt").write_text("\n".join(long))
    length = 38 if name.startswith("Roberta") else 40
    data = tokenize_task(task, settings("t.csv"), tokenizer, model)
    plain = tokenize_text(TrainingConfig(text=tmp_path / "t.txt"), tokenizer, model)
    for features in (data.features, plain.features):
        assert [len(one["input_ids"]) for one in features] == [length, length, 3, 3]
    with torch.no_grad():
        model(**data.collate(list(data.features)))  # the longest there is
    shorter = tokenize_task(task, settings("t.csv", length=8), tokenizer, model)
    assert len(shorter.features[0]["input_ids"]) == 8
