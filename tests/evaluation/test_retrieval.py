import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from dsformer.evaluation import evaluate
from dsformer.evaluation.retrieval import ndcg, nearest


def test_ndcg_against_a_value_worked_out_by_hand():
    # Ranks 1 and 3 hold grades 1 and 2: 1/log2(2) + 2/log2(4) = 2. Ideal, with the relevant "e" that was not found:
    # 2/log2(2) + 1/log2(3) + 1/log2(4) = 3.13093.
    value = ndcg(["a", "b", "c", "d"], {"a": 1, "c": 2, "e": 1}, cutoff=10)
    assert value == pytest.approx(2 / 3.1309297535714573, abs=1e-12)


def test_ndcg_of_the_best_and_of_an_empty_ranking():
    assert ndcg(["a", "b", "c"], {"a": 1, "b": 1}, cutoff=10) == 1
    assert ndcg(["x", "y"], {"a": 1}, cutoff=10) == 0
    assert ndcg(["x", "a"], {"a": 1}, cutoff=1) == 0


def test_ndcg_against_the_best_of_all_permutations():
    rng = np.random.default_rng(0)
    names = list("abcde")
    for _ in range(20):
        grades = {name: int(grade) for name, grade in zip(names, rng.integers(0, 3, 5), strict=True)}
        grades["a"] += 1
        ranking = rng.permutation(names).tolist()

        def gain(order, grades=grades):
            return sum(grades[name] / math.log(rank + 2, 2) for rank, name in enumerate(order[:3]))

        best = max(gain(order) for order in itertools.permutations(names))
        assert ndcg(ranking, grades, cutoff=3) == pytest.approx(gain(ranking) / best)


def test_ndcg_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for _ in range(50):
        count, cutoff = int(rng.integers(2, 30)), int(rng.integers(1, 12))
        grades, places = rng.integers(0, 4, count), rng.permutation(count)
        grades[0] += 1
        ranking = [str(document) for document in np.argsort(places)]
        value = ndcg(ranking, {str(i): int(grade) for i, grade in enumerate(grades)}, cutoff)
        assert value == pytest.approx(metrics.ndcg_score([grades], [-places], k=cutoff))


def test_nearest_ranks_by_cosine_not_by_length():
    documents = np.array([[10, 10], [0, 1], [1, 0.1]], dtype=np.float32)
    queries = np.array([[2, 0], [0, 0.1]], dtype=np.float32)
    assert nearest(queries, documents, 2).tolist() == [[2, 0], [1, 0]]
    assert nearest(queries, documents, 10).shape == (2, 3)


@pytest.fixture
def scifact(tmp_path: Path) -> Path:
    """A data directory of 30 documents; the claim of number i speaks of document i."""
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": f"topic{i}", "text": f"finding{i}"} for i in range(30)]
    queries = [{"_id": f"q{i}", "text": f"finding{i}"} for i in range(30)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(30))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return tmp_path


def test_scifact_of_a_perfect_and_of_a_noisy_encoder(scifact: Path, word_encoder):
    perfect = evaluate(word_encoder(), ["scifact"], data_dir=scifact)["scifact"]
    assert (perfect.value, perfect.count, perfect.metric) == (100, 30, "nDCG@10")
    assert evaluate(word_encoder(noise=3.0), ["scifact"], data_dir=scifact)["scifact"].value < 90


def test_a_limit_keeps_the_relevant_documents(scifact: Path, word_encoder):
    encoder = word_encoder()
    score = evaluate(encoder, ["scifact"], data_dir=scifact, limit=2)["scifact"]
    assert (score.value, score.count) == (100, 2)
    assert 20 + 2 <= len(encoder.texts) <= 22 + 2
