"""Tokenizers: limits, pairs, windows, and those that are damaged or do not fit the model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Encoding

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.text_model import MOST_TOKENS, group_by_size
from dsformer_runtime.tokenization import Limits, TextTokenizer, find_limit

DATA = Path(__file__).parent / "data"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copyfile(DATA / "tokenizer.json", tmp_path / "tokenizer.json")
    return tmp_path


def test_batches(place: Path):
    tokenizer = TextTokenizer(place, Limits(6, 200, 2))
    batch = tokenizer.batch(tokenizer.encode(["the cat", "", ("the cat", "a dog sleeps"), "red " * 90]))
    assert batch.lengths.tolist() == [4, 2, 6, 6]
    assert batch.ids.dtype == batch.lengths.dtype == np.int32
    assert batch.ids[:1].tolist() == [tokenizer.token_to_id("[CLS]")]
    assert batch.types is not None
    assert len(batch.types) == len(batch.ids) == 18
    assert set(batch.types[6:12]) == {0, 1}
    assert not batch.types[12:].any()
    one = TextTokenizer(place, Limits(6, 200, 1))
    assert one.batch(one.encode([("the cat", "a dog")])).types is None


def second_text(window: Encoding) -> set[tuple[int, int]]:
    """Places of the tokens of the second text."""
    return {place for place, part in zip(window.offsets, window.sequence_ids, strict=True) if part == 1}


def test_windows_hold_all_of_the_text(place: Path):
    tokenizer = TextTokenizer(place, Limits(20, 200, 2))
    text = "the old river runs over the big red house and the small cat sleeps"
    windows = tokenizer.encode_windows(("big cat", text), 12, 3)
    covered = {
        offset for one in windows for offset, part in zip(one.offsets, one.sequence_ids, strict=True) if part == 1
    }
    whole = tokenizer.encode_windows(("big cat", text), 100, 3)
    assert len(windows) > 1
    assert covered >= {
        offset for offset, part in zip(whole[0].offsets, whole[0].sequence_ids, strict=True) if part == 1
    }
    assert all(len(one.ids) <= 12 for one in windows)
    # The other way of cutting is not disturbed.
    assert len(tokenizer.encode(["red " * 90])[0].ids) == 20
    with pytest.raises(RuntimeInputError):
        tokenizer.encode_windows((text, text), 12, 3)


def test_what_does_not_fit(place: Path):
    tokenizer = TextTokenizer(place, Limits(8, 3, 2))
    with pytest.raises(RuntimeInputError, match="not one of the model"):
        tokenizer.batch(tokenizer.encode(["the cat"]))
    tokenizer = TextTokenizer(place, Limits(1, 200, 2))
    with pytest.raises(RuntimeInputError):
        tokenizer.batch(tokenizer.encode(["the cat"]))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"model": {"type": "BPE"}}', b"[" * 10_000])
def test_damaged_tokenizers(content: bytes, place: Path):
    (place / "tokenizer.json").write_bytes(content)
    with pytest.raises(RuntimeInputError, match="damaged"):
        TextTokenizer(place, Limits(8, 200, 2))


def test_limits(place: Path):
    assert find_limit(place, {"max_position_embeddings": 514}, 512) == 512
    (place / "tokenizer_config.json").write_text('{"model_max_length": 100}')
    assert find_limit(place, {"max_position_embeddings": 514}, 512) == 100
    (place / "sentence_bert_config.json").write_text('{"max_seq_length": 300}')
    assert find_limit(place, {}, 512) == 300
    assert find_limit(place, {}, 128) == 128
    (place / "sentence_bert_config.json").write_text('{"max_seq_length": null}')
    (place / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert find_limit(place, {}, 512) == 512


def test_groups():
    sizes = [5, 1, MOST_TOKENS, 7, 2]
    groups = list(group_by_size(sizes, 2))
    assert groups == [[2], [3, 0], [4, 1]]
    assert list(group_by_size([], 3)) == []
    assert list(group_by_size([MOST_TOKENS + 5, 1], 3)) == [[0], [1]]
