import math
import sys

import numpy as np
import pytest

from dsformer.data.supervised import EncodedExamples, Examples, SupervisedTask, encode, score
from dsformer.data.supervised.spans import entities, entity_scores
from dsformer.data.supervised.squad_metric import normalize, squad_scores, token_f1
from dsformer.errors import MissingExtraError

TARGETS = (1, 1, 1, 0, 0, 1)
GUESSES = [1, 1, 0, 0, 1, 1]


def scored(kind: str, metric: str, predictions, targets=TARGETS, labels=("a", "b")) -> dict[str, float]:
    examples = Examples(("x",) * len(targets), targets=targets)
    encoded = EncodedExamples({"input_ids": [np.zeros(1, np.int32)] * len(targets)})
    return score(SupervisedTask("test", kind, labels, None, examples, metric), examples, encoded, predictions)


def logits(classes: list[int]) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[classes]


def test_classification():
    assert scored("classification", "accuracy", logits(GUESSES)) == {"accuracy": pytest.approx(100 * 4 / 6)}
    found = scored("classification", "f1", logits(GUESSES))
    assert found == {"f1": pytest.approx(100 * 6 / 8), "accuracy": pytest.approx(100 * 4 / 6)}
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) with 3, 1, 1, 1
    assert scored("classification", "matthews", logits(GUESSES)) == {"matthews": pytest.approx(100 * 2 / 8)}
    assert scored("classification", "matthews", logits([1] * 6)) == {"matthews": 0.0}
    with_states = (logits(GUESSES), np.zeros((6, 3)))
    assert scored("classification", "accuracy", with_states)["accuracy"] == pytest.approx(100 * 4 / 6)


def test_regression():
    truth = (0.0, 1.0, 2.0, 5.0)
    found = scored("regression", "spearman", np.array([[0.0], [1.0], [3.0], [2.0]]), truth)
    assert found["spearman"] == pytest.approx(80.0)
    assert found["pearson"] == pytest.approx(100 * np.corrcoef(truth, [0, 1, 3, 2])[0, 1])
    assert scored("regression", "spearman", np.ones((4, 1)), truth) == {"spearman": 0.0, "pearson": 0.0}


def test_language_modelling():
    assert scored("causal_lm", "perplexity", math.log(7))["perplexity"] == pytest.approx(7)
    assert scored("masked_lm", "perplexity", 1e4)["perplexity"] == math.inf


def test_the_number_of_predictions_must_fit():
    with pytest.raises(ValueError, match="2 predictions for 6 features"):
        scored("classification", "accuracy", logits([0, 1]))


@pytest.mark.parametrize(
    ("kind", "metric", "package"),
    [
        ("classification", "f1", "sklearn.metrics"),
        ("classification", "matthews", "sklearn.metrics"),
        ("regression", "spearman", "scipy.stats"),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, kind: str, metric: str, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r'Scoring by .* needs .*"dsformer\[evaluate\]"'):
        scored(kind, metric, logits(GUESSES)[:, 1:] if kind == "regression" else logits(GUESSES))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-x I-x O B-x", {("x", 0, 2), ("x", 3, 4)}),
        ("B-x B-x I-y", {("x", 0, 1), ("x", 1, 2), ("y", 2, 3)}),
        ("O I-x I-x", {("x", 1, 3)}),
        ("O O", set()),
        ("B-creative-work I-creative-work", {("creative-work", 0, 2)}),
    ],
)
def test_entities(tags: str, expected: set):
    assert entities(tags.split()) == expected


def test_entities_count_only_if_type_and_bounds_are_right():
    right = [["B-x", "I-x", "O", "B-y"], ["B-x"]]
    predicted = [["B-x", "O", "O", "B-y"], ["O"]]
    found = entity_scores(predicted, right)
    assert found == {"f1": pytest.approx(40.0), "precision": pytest.approx(50.0), "recall": pytest.approx(100 / 3)}
    assert entity_scores([["O"]], [["O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_tags_are_read_at_first_tokens_and_words_cut_off_are_outside(wordpiece):
    examples = Examples((("jane", "rivers", "old"),), targets=((1, 2, 1),))
    tagged = SupervisedTask("test", "token_classification", ("O", "B-x", "I-x"), None, examples, "f1")
    encoded = encode(tagged, examples, wordpiece, 5)
    predicted = np.full((1, 7, 3), -100.0)  # padded to a longer feature elsewhere
    predicted[0, :5] = np.eye(3)[[0, 1, 2, 1, 0]]
    found = score(tagged, examples, encoded, predicted)
    assert found == {"f1": pytest.approx(200 / 3), "precision": 100.0, "recall": 50.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The  Cat!", "cat"), ("an A.", ""), ("theme-park", "themepark"), ("The U.S. Army", "us army")],
)
def test_squad_normalization(text: str, expected: str):
    assert normalize(text) == expected


def test_squad_takes_the_best_answer():
    found = squad_scores(
        ["the Denver Broncos", "gold"], [["Denver Broncos", "Broncos"], ["silver gold"]], no_answer=False
    )
    assert found == {"exact": 50.0, "f1": pytest.approx((100 + 200 / 3) / 2)}
    assert token_f1("a b c", "b c d", no_answer=False) == pytest.approx(0.8)  # "a" is an article
    assert token_f1("x x y", "x z", no_answer=False) == pytest.approx(2 * 1 / 5)


def test_no_answer_is_an_answer_in_version_two_only():
    assert squad_scores(["", "x", ""], [[], [], ["x"]], no_answer=True) == {
        "exact": pytest.approx(100 / 3),
        "f1": pytest.approx(100 / 3),
    }
    assert squad_scores([""], [["the"]], no_answer=True) == {"exact": 100.0, "f1": 100.0}
    assert squad_scores([""], [["the"]], no_answer=False) == {"exact": 100.0, "f1": 0.0}


CONTEXT = "the old bridge was built by jane in 1850 ."


def asked(wordpiece, *, unanswerable: bool):
    """One answerable question, its task and features; `unanswerable` adds one without an answer to the task only."""
    examples = Examples(("who ?",), (CONTEXT,), ((("jane", 28),),))
    others = Examples(("who ?", "why ?"), (CONTEXT, CONTEXT), ((("jane", 28),), ()))
    whole = SupervisedTask("test", "question_answering", (), None, others if unanswerable else examples, "f1")
    return whole, examples, encode(whole, examples, wordpiece, 40)


@pytest.mark.parametrize(
    ("null", "unanswerable", "expected"), [(9.0, False, 100.0), (9.0, True, 0.0), (2.0, True, 100.0)]
)
def test_the_null_token_is_an_answer_only_if_questions_may_have_none(
    wordpiece, null: float, unanswerable: bool, expected: float
):
    whole, examples, encoded = asked(wordpiece, unanswerable=unanswerable)
    position = encoded[0]["start_positions"]
    starts = np.zeros((1, len(encoded[0]["input_ids"])), np.float32)
    starts[0, position], starts[0, 0] = 5.0, null
    found = score(whole, examples, encoded, (starts, starts.copy()))
    assert found == {"exact": expected, "f1": expected}


def test_spans_outside_of_the_context_or_backwards_are_no_answers(wordpiece):
    whole, examples, encoded = asked(wordpiece, unanswerable=False)
    position = encoded[0]["start_positions"]
    starts = np.zeros((1, len(encoded[0]["input_ids"])), np.float32)
    ends = starts.copy()
    starts[0, [1, position]] = 9.0, 5.0  # 1 is in the question
    ends[0, [2, position - 1, position]] = 9.0, 6.0, 5.0
    assert score(whole, examples, encoded, (starts, ends))["exact"] == 100.0


def test_the_best_window_answers(wordpiece):
    context = "the " * 40 + "jane"
    examples = Examples(("who ?",), (context,), ((("jane", 160),),))
    whole = SupervisedTask("test", "question_answering", (), None, examples, "f1")
    encoded = encode(whole, examples, wordpiece, 32)
    tokens = max(len(feature["input_ids"]) for feature in encoded)
    starts = np.full((2, tokens), -100.0)
    starts[0, :32] = 0.0
    starts[0, 10] = 3.0
    starts[1, encoded[1]["start_positions"]] = 4.0
    assert score(whole, examples, encoded, (starts, starts))["exact"] == 100.0
