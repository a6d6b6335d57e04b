"""Heads: the outputs of transformers' pipelines and of CrossEncoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, pipeline

from dsformer_runtime import Classifier, QuestionAnswerer, Reranker, SentenceEncoder, TokenClassifier, load
from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from fixtures.families import FAMILIES, write_family

TEXTS = ["the cat walks over the red house.", "big dogs sleep", "zebra, and the old river 7 runs", "a"]
REF = "reference"


def same(ours: Any, theirs: Any) -> None:
    """Equal but for roundings of scores."""
    assert type(ours) is type(theirs) or isinstance(theirs, np.floating | float)
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(theirs, float | np.floating):
        assert ours == pytest.approx(float(theirs), rel=1e-4)
    else:
        assert ours == theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_classifier(family: str, tmp_path: Path):
    model = write_family(tmp_path, family, "ForSequenceClassification", num_labels=3)
    theirs = pipeline("text-classification", model, tokenizer=AutoTokenizer.from_pretrained(tmp_path), device="cpu")
    ours = load(tmp_path, backend=REF)
    assert isinstance(ours, Classifier)
    same(ours(TEXTS), theirs(TEXTS))


def test_classifier_arguments(tmp_path: Path):
    model = write_family(tmp_path, "bert", "ForSequenceClassification", num_labels=3)
    theirs = pipeline("text-classification", model, tokenizer=AutoTokenizer.from_pretrained(tmp_path), device="cpu")
    ours = Classifier(tmp_path, backend=REF)
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    for given in (TEXTS[0], TEXTS, pair, [pair, pair]):
        for more in ({}, {"top_k": 2}, {"top_k": None}, {"top_k": 1, "function_to_apply": "sigmoid"}):
            same(ours(given, **more), theirs(given, **more))
    assert ours([]) == []
    with pytest.raises(RuntimeInputError, match="top_k"):
        ours("a", top_k=0)
    with pytest.raises(RuntimeInputError, match="input 1"):
        ours(["a", 3])  # type: ignore[list-item]
    with pytest.raises(UnsupportedModelError, match="ForTokenClassification"):
        TokenClassifier(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_classifier(family: str, tmp_path: Path):
    labels = {0: "O", 1: "B-X", 2: "I-X", 3: "B-Y", 4: "I-Y"}
    model = write_family(tmp_path, family, "ForTokenClassification", id2label=labels)
    theirs = pipeline("token-classification", model, tokenizer=AutoTokenizer.from_pretrained(tmp_path), device="cpu")
    ours = load(tmp_path, backend=REF)
    assert isinstance(ours, TokenClassifier)
    strategies = ("none", "simple", "first", "average", "max") if family == "bert" else ("none",)
    for strategy in strategies:
        same(ours(TEXTS, aggregation_strategy=strategy), theirs(TEXTS, aggregation_strategy=strategy))
    same(ours(TEXTS[0], ignore_labels=()), theirs(TEXTS[0], ignore_labels=[]))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "nomic"])
def test_question_answerer(family: str, tmp_path: Path):
    """transformers 5 has no such pipeline: the likeliest span is found here by trying all."""
    model = write_family(tmp_path, family, "ForQuestionAnswering")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    question, context = "big cat.", "the old river runs. a dog sleeps, zebra."
    given = tokenizer(question, context, return_tensors="pt")
    inside = torch.tensor([part == 1 for part in given.sequence_ids(0)])
    inside[0] = True  # [CLS]: the empty answer
    with torch.no_grad():
        outputs = model(**given)
    starts, ends = (
        torch.softmax(one[0].masked_fill(~inside, -10000), 0).numpy()
        for one in (outputs.start_logits, outputs.end_logits)
    )
    spans = [(s, e) for s in range(1, len(starts)) for e in range(s, min(s + 15, len(starts)))]
    start, end = max(spans, key=lambda span: starts[span[0]] * ends[span[1]])
    ours = load(tmp_path, backend=REF)
    assert isinstance(ours, QuestionAnswerer)
    found = ours(question, context, align_to_words=False)
    places = tokenizer(question, context, return_offsets_mapping=True)["offset_mapping"]
    assert (found["start"], found["end"]) == (places[start][0], places[end][1])
    assert found["answer"] == context[found["start"] : found["end"]]
    assert found["score"] == pytest.approx(float(starts[start] * ends[end]), rel=1e-4)


def test_question_answerer_arguments(tmp_path: Path):
    write_family(tmp_path, "bert", "ForQuestionAnswering")
    ours = QuestionAnswerer(tmp_path, backend=REF)
    question, context = "big cat?", " ".join(TEXTS * 5)
    several = ours(question, context, top_k=3, max_seq_len=24, doc_stride=8)
    assert len(several) == 3
    assert [one["score"] for one in several] == sorted((one["score"] for one in several), reverse=True)
    assert all(one["answer"] == context[one["start"] : one["end"]] for one in several)
    answers = ours({"question": question, "context": context}, top_k=1000, handle_impossible_answer=True)
    assert [(one["start"], one["end"]) for one in answers if not one["answer"]][-1:] == [(0, 0)]
    assert ours([question, question], context) == [ours(question, context)] * 2
    assert ours([]) == []
    for wrong in (("", context), (question, None), (question, 3)):
        with pytest.raises(RuntimeInputError):
            ours(*wrong)
    with pytest.raises(RuntimeInputError):
        ours(" ".join(TEXTS * 5), context)  # no room for the text


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "deberta-v3"])
@pytest.mark.parametrize("labels", [1, 3])
def test_reranker(family: str, labels: int, tmp_path: Path):
    write_family(tmp_path / "plain", family, "ForSequenceClassification", num_labels=labels)
    theirs = CrossEncoder(str(tmp_path / "plain"), device="cpu")
    theirs.save_pretrained(str(tmp_path / "saved"))
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[0] * 12), ("", TEXTS[3])]
    for place in ("plain", "saved"):
        ours = Reranker(tmp_path / place, backend=REF)
        assert ours.max_length == min(theirs.max_length, 64)
        np.testing.assert_allclose(ours.predict(pairs), theirs.predict(pairs), rtol=1e-4, atol=1e-6)
    assert isinstance(load(tmp_path / "saved", backend=REF), Reranker)
    np.testing.assert_allclose(ours.predict(pairs[0]), theirs.predict(pairs[0]), rtol=1e-4, atol=1e-6)
    soft = ours.predict(pairs, apply_softmax=True)
    np.testing.assert_allclose(soft, theirs.predict(pairs, apply_softmax=True), rtol=1e-4, atol=1e-6)
    assert ours.predict([]).shape == ((0,) if labels == 1 else (0, labels))


def test_reranker_settings(tmp_path: Path):
    write_family(tmp_path / "plain", "bert", "ForSequenceClassification", num_labels=1)
    theirs = CrossEncoder(str(tmp_path / "plain"), device="cpu", activation_fn=torch.nn.Identity())
    theirs.save_pretrained(str(tmp_path / "saved"))
    ours = Reranker(tmp_path / "saved", backend=REF)
    same(
        ours.rank(TEXTS[0], TEXTS, top_k=2, return_documents=True),
        theirs.rank(TEXTS[0], TEXTS, top_k=2, return_documents=True),
    )
    with pytest.raises(RuntimeInputError, match="pair 1"):
        ours.predict([("a", "b"), ("a",)])
    with pytest.raises(RuntimeInputError, match="not a pair"):
        ours.predict("a")


def test_an_encoder_without_a_head_is_a_sentence_encoder(tmp_path: Path):
    write_family(tmp_path, "bert")
    assert isinstance(load(tmp_path, backend=REF), SentenceEncoder)
