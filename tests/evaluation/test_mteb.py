"""MTEB's own tasks, on small data in the layout of their repositories, beside this package's of the same name."""

import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsformer.cli.scores import parse_tasks
from dsformer.errors import InputError, MissingExtraError
from dsformer.evaluation import evaluate, load_encoder
from dsformer.evaluation.mteb_tasks import mteb_task
from fixtures.training import reviews, write_sentence_encoder

pytest.importorskip("mteb")
pytest.importorskip("sentence_transformers")

LABELS = ("bad", "fine")


@pytest.fixture(autouse=True)
def _no_hub_and_no_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_encoder(tmp_path_factory.mktemp("encoder") / "model")


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _classification(place: Path) -> None:
    parts = {"train": reviews(40), "test": reviews(30, seed=1)}
    (place / "banking77").mkdir()
    (place / "banking77" / "categories.json").write_text(json.dumps(LABELS))
    for split, rows in parts.items():
        _lines(place / "mteb" / "banking77" / f"{split}.jsonl", ({"text": text, "label": i} for text, i in rows))
        table = "".join(f"{text},{LABELS[i]}\n" for text, i in rows)
        (place / "banking77" / f"{split}.csv").write_text(f"text,category\n{table}")


def _similarity(place: Path) -> None:
    texts = [text for text, _ in reviews(40)]
    rows = [(texts[i], texts[i + 1], i * 7 % 6) for i in range(39)]
    fields = ({"sentence1": one, "sentence2": other, "score": score} for one, other, score in rows)
    _lines(place / "mteb" / "stsbenchmark-sts" / "test.jsonl", fields)
    (place / "glue-stsb").mkdir()
    table = "".join(f"g\tf\t2012\t{i}\t{score}\t{one}\t{other}\n" for i, (one, other, score) in enumerate(rows))
    (place / "glue-stsb" / "sts-test.csv").write_text(table)


def _retrieval(place: Path) -> None:
    texts = [text for text, _ in reviews(30, seed=2)]
    corpus = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": " ".join(text.split()[:3])} for i, text in enumerate(texts[:12])]
    judged = [(f"q{i}", f"d{i + more}", 1) for i in range(12) for more in (0, 5)]
    own, theirs = place / "scifact", place / "mteb" / "scifact"
    for folder in (own, theirs):
        _lines(folder / "corpus.jsonl", corpus)
        _lines(folder / "queries.jsonl", queries)
    names = ("query-id", "corpus-id", "score")
    (own / "qrels").mkdir()
    (own / "qrels" / "test.tsv").write_text("\n".join("\t".join(map(str, row)) for row in (names, *judged)))
    _lines(theirs / "qrels" / "test.jsonl", (dict(zip(names, row, strict=True)) for row in judged))
    parts = {"default": ("test", "qrels/test.jsonl")}
    parts |= {name: (name, f"{name}.jsonl") for name in ("corpus", "queries")}
    configs = [
        {"config_name": name, "data_files": [{"split": split, "path": path}]} for name, (split, path) in parts.items()
    ]
    (theirs / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")


@pytest.mark.parametrize(
    ("write", "theirs", "own", "metric", "count"),
    [
        (_classification, "Banking77Classification", "banking77", "accuracy", 30),
        (_similarity, "STSBenchmark", "stsb", "cosine_spearman", 39),
        (_retrieval, "SciFact", "scifact", "ndcg_at_10", 12),
    ],
)
def test_the_same_scores_as_of_the_tasks_here(write, theirs, own, metric, count, model: Path, tmp_path: Path):
    write(tmp_path)
    scores = evaluate(model, [f"mteb:{theirs}", own], tmp_path)
    score = scores[f"mteb:{theirs}"]
    # MTEB rounds scores of retrieval to five places.
    assert score.value == pytest.approx(scores[own].value, abs=2e-3)
    assert (score.task, score.metric, score.count) == (f"mteb:{theirs}", metric, count)
    assert score.data is not None
    assert Path(score.data).parent == tmp_path / "mteb"
    assert score.seconds > 0


def test_each_model_has_its_own_score(tmp_path: Path):
    """MTEB would take models without a name on the hub for one."""
    _similarity(tmp_path)
    found = []
    for mode in ("mean_tokens", "cls_token"):
        torch.manual_seed(0)
        model = write_sentence_encoder(tmp_path / mode, mode)
        found.append(evaluate(model, ["mteb:STSBenchmark"], tmp_path)["mteb:STSBenchmark"].value)
    assert found[0] != found[1]


def test_generators_of_random_numbers_go_on_as_they_were(model: Path, tmp_path: Path):
    _classification(tmp_path)
    states = []
    for name in (None, "mteb:Banking77Classification"):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        if name:
            evaluate(load_encoder(model), [name], tmp_path)
        states.append((np.random.rand(), torch.rand(1).item()))
    assert states[0] == states[1]
    # The checks of annotations in tests draw from Python's own; MTEB would have seeded it.
    assert random.random() != random.Random(42).random()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("STSBenchmrk", {}, r"Unknown task 'mteb:STSBenchmrk': MTEB has none of that name; near it are mteb:STSBenchm"),
        ("banking77", {}, r"near it are mteb:Banking77Classification"),
        ("", {}, r"^Unknown task 'mteb:': MTEB has none of that name$"),
        ("Caltech101", {}, r"'mteb:Caltech101' is of image, not of texts alone"),
        ("STS12", {"limit": 5}, r"'mteb:STS12' is measured whole: leave the limit out"),
    ],
)
def test_bad_requests_are_refused_before_the_model_is_loaded(name: str, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as error:
        evaluate("no model here", [f"mteb:{name}"], **options)
    assert "\n" not in str(error.value)


def test_data_that_cannot_be_had_is_said_before_the_work(tmp_path: Path):
    message = r"^mteb:STS12: its data mteb/sts12-sts cannot be loaded: .*; --data-dir may name a folder that holds"
    with pytest.raises(InputError, match=message) as error:
        parse_tasks("banking77,mteb:STS12", tmp_path)
    assert "\n" not in str(error.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtraError, match=r"'mteb:STS12' needs packages .*\"dsformer\[mteb\]\""):
        mteb_task("mteb:STS12")


def test_a_model_that_mteb_cannot_measure(word_encoder, tmp_path: Path):
    with pytest.raises(InputError, match="MTEB measures a SentenceTransformer, not WordEncoder"):
        evaluate(word_encoder(), ["mteb:STSBenchmark"], tmp_path)


def test_embeddings_that_are_not_numbers(model: Path, tmp_path: Path):
    _similarity(tmp_path)
    encoder: Any = load_encoder(model)
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="infinite or not a number"):
        evaluate(encoder, ["mteb:STSBenchmark"], tmp_path)
