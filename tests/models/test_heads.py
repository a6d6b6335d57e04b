from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, BertConfig, PreTrainedTokenizerFast

from dsformer.data.supervised import Examples, SupervisedTask, TaskKind
from dsformer.errors import InputError
from dsformer.models.heads import get_head, has_head, has_loss_of, open_for_task
from fixtures.models import tiny_model

CLASSES: dict[TaskKind, str] = {
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
    "masked_lm": "BertForMaskedLM",
    "causal_lm": "BertLMHeadModel",
}


def task_of(kind: TaskKind, labels: int = 3) -> SupervisedTask:
    names = tuple(f"L{i}" for i in range(labels)) if kind in ("classification", "token_classification") else ()
    return SupervisedTask("toy", kind, names, None, Examples(("a",)), "score")


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_base_model_is_given_the_head_of_the_task(kind: TaskKind, base: Path):
    task = task_of(kind)
    assert not has_head(AutoConfig.from_pretrained(base), task)
    model, tokenizer = open_for_task(base, task)
    assert type(model).__name__ == CLASSES[kind]
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)


def test_labels_are_the_tasks_own(base: Path):
    model, _ = open_for_task(base, task_of("classification", 4))
    assert model.config.id2label == {i: f"L{i}" for i in range(4)}
    assert model.get_submodule("classifier").out_features == 4


def saved(base: Path, place: Path, names: list[str], **fields: object) -> Path:
    """A classifier of these classes."""
    model, tokenizer = open_for_task(base, replace(task_of("classification"), labels=tuple(names)))
    torch.nn.init.normal_(model.get_submodule("classifier").weight, std=5.0)
    for name, value in fields.items():
        setattr(model.config, name, value)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def rows_of(model: torch.nn.Module) -> torch.Tensor:
    return model.get_submodule("classifier").weight.detach()


@pytest.mark.parametrize(
    ("names", "labels", "kept"),
    [
        (["Pos", "neg"], ("neg", "pos"), ["Pos", "neg"]),
        (["c", "b", "a"], ("a", "c"), ["c", "b", "a"]),
        (["LABEL_0", "LABEL_1"], ("neg", "pos"), ["neg", "pos"]),
        (["LABEL_0", "LABEL_1"], ("1", "2"), ["1", "2"]),
        (["negative", "positive"], ("0", "1"), ["negative", "positive"]),
    ],
)
def test_a_head_of_the_tasks_classes_is_kept(
    names: list[str], labels: tuple[str, ...], kept: list[str], base: Path, tmp_path: Path
):
    place, task = saved(base, tmp_path / "m", names), replace(task_of("classification"), labels=labels)
    before, _ = open_for_task(place, replace(task, labels=tuple(names)))
    model, _ = open_for_task(place, task)
    assert torch.equal(rows_of(model), rows_of(before))
    assert model.config.id2label == dict(enumerate(kept))
    assert model.config.label2id == {name: number for number, name in enumerate(kept)}
    assert model.config.problem_type == "single_label_classification"
    assert has_head(AutoConfig.from_pretrained(place), task)


@pytest.mark.parametrize("labels", [("cat", "dog"), ("neg", "dog"), ("neg", "neutral", "pos")])
def test_a_head_of_other_classes_is_made_anew_and_said(
    labels: tuple[str, ...], base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    place, task = saved(base, tmp_path / "m", ["neg", "pos"]), replace(task_of("classification"), labels=labels)
    assert not has_head(AutoConfig.from_pretrained(place), task)
    model, _ = open_for_task(place, task)
    assert model.config.id2label == dict(enumerate(labels))
    assert rows_of(model).std() < 0.1
    assert "are not what the model tells ('neg', 'pos'): a new head is trained" in caplog.text


def test_a_head_of_another_loss(base: Path, tmp_path: Path):
    place = saved(base, tmp_path / "m", ["L2", "L1", "L0"], problem_type="multi_label_classification")
    task, config = task_of("classification"), AutoConfig.from_pretrained(place)
    assert has_head(config, task)
    assert not has_loss_of(config, "classification")
    model, _ = open_for_task(place, task)
    assert (model.config.problem_type, rows_of(model).std() > 1) == ("single_label_classification", True)
    assert has_loss_of(model.config, "classification")


def test_a_regression_has_one_output(base: Path):
    model, _ = open_for_task(base, task_of("regression"))
    assert model.get_submodule("classifier").out_features == 1
    assert model.config.problem_type == "regression"


def test_a_new_regression_starts_at_the_mean_of_its_targets(base: Path, tmp_path: Path):
    task = replace(task_of("regression"), train=Examples(("a", "b"), targets=(1.0, 4.0)))
    model, tokenizer = open_for_task(base, task)
    assert model.get_submodule("classifier").bias.tolist() == [2.5]
    torch.nn.init.zeros_(model.get_submodule("classifier").bias)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    again, _ = open_for_task(tmp_path / "m", task)
    assert again.get_submodule("classifier").bias.tolist() == [0.0]


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_saved_model_has_its_head(kind: TaskKind, base: Path, tmp_path: Path):
    model, tokenizer = open_for_task(base, task_of(kind))
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    assert has_head(AutoConfig.from_pretrained(tmp_path / "m"), task_of(kind))
    again, _ = open_for_task(tmp_path / "m", task_of(kind))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_another_number_of_classes_is_another_head(base: Path, tmp_path: Path):
    model, tokenizer = open_for_task(base, task_of("classification", 3))
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    config = AutoConfig.from_pretrained(tmp_path / "m")
    assert not has_head(config, task_of("classification", 4))
    assert not has_head(config, task_of("regression"))
    assert not has_head(config, task_of("question_answering"))
    again, _ = open_for_task(tmp_path / "m", task_of("classification", 4))
    assert again.get_submodule("classifier").out_features == 4
    inner = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(again.state_dict()[inner], model.state_dict()[inner])


def test_what_is_new_and_what_is_not(base: Path):
    classifier, _ = open_for_task(base, task_of("classification"))
    assert set(get_head(classifier)) == {"classifier.weight", "classifier.bias"}
    language, _ = open_for_task(base, task_of("masked_lm"))
    assert all(name.startswith("cls.predictions") for name in get_head(language))
    assert language.get_input_embeddings().weight not in set(get_head(language).values())


def test_a_tokenizer_without_padding_is_given_one(tmp_path: Path):
    tiny_model("GPT2LMHeadModel").save_pretrained(tmp_path)  # a decoder's classifier reads the last token but padding
    words = models.WordLevel({"[UNK]": 0, "film": 1}, unk_token="[UNK]")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), unk_token="[UNK]").save_pretrained(tmp_path)
    network, tokenizer = open_for_task(tmp_path, task_of("classification"))
    assert tokenizer.pad_token == "[UNK]"
    assert network.config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("place", ["nowhere", "bare"])
def test_models_that_cannot_be_opened(place: str, tmp_path: Path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match=place):
        open_for_task(tmp_path / place, task_of("classification"))


def test_a_model_without_weights_is_named_in_one_line(tmp_path: Path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be opened for classification") as error:
        open_for_task(tmp_path, task_of("classification"))
    assert "\n" not in str(error.value)
