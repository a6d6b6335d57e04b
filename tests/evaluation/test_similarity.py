import math
from pathlib import Path

import numpy as np
import pytest

from dsformer.errors import InputError
from dsformer.evaluation import evaluate
from dsformer.evaluation.similarity import row_cosines, spearman


def test_row_cosines_against_the_definition():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 5, 3)).astype(np.float32)
    expected = [a @ b / math.sqrt((a @ a) * (b @ b)) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(row_cosines(first, second), expected, rtol=1e-5)


def test_spearman_against_values_worked_out_by_hand():
    # 1 - 6 * sum(d^2) / (n (n^2 - 1)), d = rank differences: here 0, 1, 1, 0.
    assert spearman(np.array([0.1, 0.5, 0.3, 0.9], dtype=np.float32), [1.0, 2.0, 3.0, 4.0]) == pytest.approx(0.8)
    assert spearman(np.array([3, 2, 1], dtype=np.float32), [0.0, 0.1, 5.0]) == pytest.approx(-1)


def test_spearman_where_there_is_no_order():
    assert spearman(np.ones(3, dtype=np.float32), [1.0, 2.0, 3.0]) == 0
    with pytest.raises(InputError, match="at least two items"):
        spearman(np.array([1, 2], dtype=np.float32), [3.0, 3.0])


@pytest.fixture
def stsb(tmp_path: Path) -> Path:
    """Six pairs that share 0 to 5 of 5 words, scored by that number."""
    words = ["one", "two", "three", "four", "five"]
    rows = []
    for shared in (3, 0, 5, 2, 4, 1):
        other = words[:shared] + [f"other{shared}{index}" for index in range(5 - shared)]
        rows.append(f"genre\tfile\t2012\t{shared}\t{shared}\t{' '.join(words)}\t{' '.join(other)}\n")
    (tmp_path / "glue-stsb").mkdir()
    (tmp_path / "glue-stsb" / "sts-test.csv").write_text("".join(rows))
    return tmp_path


def test_stsb_correlates_cosines_with_the_scores_of_the_same_pairs(stsb: Path, word_encoder):
    score = evaluate(word_encoder(width=2048), ["stsb"], data_dir=stsb)["stsb"]
    assert score.value == pytest.approx(100)
    assert (score.count, score.spread, score.metric) == (6, None, "Spearman correlation")


def test_a_limit_takes_pairs_evenly(stsb: Path, word_encoder):
    encoder = word_encoder()
    assert evaluate(encoder, ["stsb"], data_dir=stsb, limit=3)["stsb"].count == 3
    assert len(encoder.texts) == 6
