import pytest

from dsformer.benchmarking.texts import Setting, texts_of
from dsformer.data import bundled_passages


class Words:
    """A tokenizer whose tokens are the words themselves."""

    def __call__(self, text: str, truncation: bool, max_length: int) -> dict[str, list[str]]:
        return {"input_ids": text.split()[:max_length]}


def test_mixed_lengths_are_spread_over_their_range():
    setting = Setting.of(32, (8, 128), 1)
    assert setting.size == "8-128"
    assert (min(setting.lengths), max(setting.lengths), len(set(setting.lengths))) == (8, 128, 32)
    assert setting.lengths != sorted(setting.lengths)
    assert Setting.of(1, (8, 128), 1).lengths == [128]
    assert (Setting.of(2, 16, 1).lengths, Setting.of(2, 16, 1).size) == ([16, 16], "16")


def test_texts_have_the_lengths_of_their_setting():
    batches = texts_of(Words(), Setting(4, 60, 1, 10), 3)
    assert len(batches) == 3
    for texts in batches:
        assert [len(ids) for ids in texts] == Setting(4, 60, 1, 10).lengths
    assert len({tuple(ids[:8]) for texts in batches for ids in texts}) == 12


@pytest.mark.parametrize("count", [64, 128, 256])
def test_nothing_is_calibrated_on_the_texts(count: int):
    calibrated = {tuple(passage.split()[:10]) for passage in bundled_passages(count)}
    timed = {tuple(ids) for texts in texts_of(Words(), Setting(16, 10, 1), 4) for ids in texts}
    assert len(timed) == 64
    assert not calibrated & timed
