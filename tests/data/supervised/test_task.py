from collections import Counter

import pytest

from dsformer.data.supervised import TASK_NAMES, Examples, list_texts, load_task

PAIRS = Examples(("a", "b", "c"), ("x", "y", "z"), (0, 1, 0), ("i", "j", "k"))


def test_take_draws_without_replacement_and_alike_for_one_seed():
    examples = Examples(tuple(map(str, range(50))), targets=tuple(range(50)))
    taken = examples.take(20, seed=3)
    assert taken == examples.take(20, seed=3)
    assert taken != examples.take(20, seed=4)
    assert len(set(taken.texts)) == len(taken) == 20
    assert taken.texts == tuple(map(str, taken.targets))
    assert list(taken.targets) != sorted(taken.targets)


def test_take_keeps_the_parts_of_an_example_together():
    taken = PAIRS.take(2, seed=0)
    rows = set(zip(PAIRS.texts, PAIRS.pairs, PAIRS.targets, PAIRS.ids, strict=True))
    assert set(zip(taken.texts, taken.pairs, taken.targets, taken.ids, strict=True)) < rows
    bare = Examples(("a", "b")).take(1, seed=0)
    assert (len(bare), bare.pairs, bare.targets, bare.ids) == (1, None, (), ())


@pytest.mark.parametrize("count", [None, 3, 4])
def test_take_of_all_is_the_same_object(count: int | None):
    assert PAIRS.take(count, seed=0) is PAIRS


def test_texts_for_calibration():
    assert list_texts(PAIRS) == [("a", "x"), ("b", "y"), ("c", "z")]
    words = Examples((("one", "two"), ("three",)), targets=((0, 0), (0,)))
    assert list_texts(words) == ["one two", "three"]


def test_bundled_movie_reviews_hold_out_every_fifth_sentence_of_each_class():
    task = load_task("movie_reviews")
    assert (task.kind, task.labels, task.metric) == ("classification", ("negative", "positive"), "accuracy")
    assert Counter(task.train.targets) == {0: 4265, 1: 4265}
    assert Counter(task.evaluation.targets) == {0: 1066, 1: 1066}
    assert task.train.texts[0] == "simplistic , silly and tedious ."
    assert task.train.texts[4] != task.evaluation.texts[0] == task.evaluation.take(None, 0).texts[0]


def test_bundled_banking77_is_the_official_split():
    task = load_task("banking77")
    assert (len(task.train), len(task.evaluation), len(task.labels)) == (10_003, 3_080, 77)
    assert task.labels[task.train.targets[0]] == "card_arrival"


def test_names():
    assert " ".join(TASK_NAMES) == (
        "cola sst2 mrpc stsb qqp mnli qnli rte wnli squad squad_v2 wnut17 banking77 movie_reviews sms_spam "
        "wikitext2 wikitext2_causal"
    )
