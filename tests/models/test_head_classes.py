import pytest
import torch
from transformers import (
    BertConfig,
    DistilBertForSequenceClassification,
    GPT2ForSequenceClassification,
    PretrainedConfig,
    RobertaForTokenClassification,
    T5ForSequenceClassification,
)

from dsformer.data.supervised import Examples, SupervisedTask
from dsformer.data.supervised.encoded import EncodedExamples
from dsformer.data.supervised.metrics import score
from dsformer.models.head_classes import match_classes, renew_outputs
from dsformer.models.heads import align_classes
from fixtures.models import ARCHITECTURES


def of(*labels: str, metric: str = "accuracy") -> SupervisedTask:
    words = Examples(tuple("abc"[: len(labels)]), None, tuple(range(len(labels))))
    return SupervisedTask("toy", "classification", labels, words, words, metric)


def classifier(*names: str) -> BertConfig:
    return BertConfig(architectures=["BertForSequenceClassification"], id2label=dict(enumerate(names)))


@pytest.mark.parametrize(
    ("names", "labels", "order", "guessed"),
    [
        (("NO", "MAYBE", "YES"), ("yes", "maybe", "no"), (2, 1, 0), False),
        (("1", "0"), ("0", "1.0"), (1, 0), False),
        (("True", "False"), ("false", "true"), (1, 0), False),
        (("b", "c", "a"), ("a", "b"), (1, None, 0), False),
        (("LABEL_0", "LABEL_1"), ("0", "1"), (0, 1), False),
        (("LABEL_0", "LABEL_1"), ("1", "2"), (0, 1), False),
        (("LABEL_0", "LABEL_1"), ("neg", "pos"), (0, 1), True),
        (("0", "1"), ("neg", "pos"), (0, 1), True),
        (("negative", "positive"), ("0", "1"), (0, 1), False),
    ],
)
def test_classes_that_answer_each_other(names: tuple, labels: tuple, order: tuple, guessed: bool):
    found = match_classes(classifier(*names), of(*labels))
    assert found is not None
    assert (found.order, found.guessed) == (order, guessed)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("a", "b"), ("b", "c")),
        (("a", "b"), ("a", "b", "c")),
        (("negative", "positive"), ("1", "2")),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1")),
        (("a", "A"), ("A", "a ", "b")),
        (("LABEL_1", "LABEL_0"), ("neg", "pos")),
    ],
)
def test_classes_that_do_not(names: tuple, labels: tuple):
    assert match_classes(classifier(*names), of(*labels)) is None


def test_classes_are_numbered_as_the_model_has_them():
    found = align_classes(classifier("NO", "MAYBE", "YES"), of("yes", "maybe", "no"))
    assert found.labels == ("no", "maybe", "yes")
    assert found.train is not None
    assert (found.train.targets, found.evaluation.targets, found.held_out) == ((2, 1, 0), (2, 1, 0), None)
    task = of("yes", "maybe", "no")
    for others in (("LABEL_0", "LABEL_1", "LABEL_2"), ("Yes", "maybe", "NO"), ("a", "b", "c")):
        assert align_classes(classifier(*others), task) is task
    assert align_classes(BertConfig(architectures=["BertModel"]), task) is task


def test_classes_that_only_the_model_knows_stay():
    found = align_classes(classifier("neutral", "Pos", "Neg"), of("neg", "pos"))
    assert found.labels == ("neutral", "pos", "neg")
    assert found.evaluation.targets == (2, 1)


def test_tags_are_numbered_as_the_model_has_them():
    words = Examples((("a", "b"),), None, ((0, 1),))
    task = SupervisedTask("ner", "token_classification", ("O", "B-x"), None, words, "f1")
    config = BertConfig(architectures=["BertForTokenClassification"], id2label={0: "B-x", 1: "O"})
    assert align_classes(config, task).evaluation.targets == ((1, 0),)


def test_a_guess_is_said(caplog: pytest.LogCaptureFixture):
    align_classes(classifier("LABEL_0", "LABEL_1"), of("neg", "pos"))
    assert "by their order LABEL_0 is 'neg', LABEL_1 is 'pos'" in caplog.text


def test_a_score_of_one_class_goes_with_it():
    pytest.importorskip("sklearn")
    task = of("different", "same", metric="f1")
    moved = align_classes(classifier("same", "different"), task)
    assert moved.positive == 0
    logits = torch.eye(2)[[0, 0]].numpy()  # in the model's numbers: both the same
    found = score(moved, moved.evaluation, EncodedExamples({"input_ids": [[1], [2]]}), logits)
    assert found["f1"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("kind", "name", "outputs"),
    [
        (DistilBertForSequenceClassification, "DistilBertForSequenceClassification", "classifier."),
        (RobertaForTokenClassification, "RobertaForSequenceClassification", "classifier."),
        (GPT2ForSequenceClassification, "GPT2LMHeadModel", "score."),
        (T5ForSequenceClassification, "T5ForConditionalGeneration", "classification_head.out_proj."),
    ],
)
def test_outputs_are_made_anew_and_nothing_else(kind: type, name: str, outputs: str):
    config: PretrainedConfig = kind.config_class(**ARCHITECTURES[name], num_labels=3)  # type: ignore[attr-defined]
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
            parameter._is_hf_initialized = True  # as after loading
    renew_outputs(model)
    changed = {key for key, values in model.named_parameters() if not bool((values == 0.5).all())}
    assert changed
    assert all(key.startswith(outputs) for key in changed)
    assert model.config.num_labels == 3
