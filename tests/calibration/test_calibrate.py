import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForQuestionAnswering, BertForSequenceClassification, BertModel

from dsformer.calibration.calibrate import calibrate
from dsformer.calibration.kfac import collect_kfac_factors
from dsformer.calibration.second_moments import collect_second_moments
from dsformer.calibration.trace import trace
from dsformer.errors import InputError


def batches():
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    return [{"input_ids": ids, "attention_mask": (ids > 0).long()}] * 2


def made(kind):
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=128, vocab_size=400
    )
    return kind(config).eval()


@pytest.mark.parametrize(
    ("kind", "weighting", "influence"),
    [
        (BertForSequenceClassification, "auto", True),
        (BertForQuestionAnswering, "auto", True),
        (BertForMaskedLM, "auto", False),
        (BertModel, "auto", True),
        (BertForSequenceClassification, "even", False),
        (BertForMaskedLM, "influence", True),
    ],
)
def test_weighting(kind, weighting, influence):
    model, ticks = made(kind), []
    tracing = trace(model, batches()[0])
    blocks = [block for block in tracing.blocks if "pooler" not in block.name]
    seen = calibrate(model, batches(), blocks, tracing.tables, weighting, ticks.append)
    expected = (
        collect_kfac_factors(model, batches(), blocks)[0]
        if influence
        else collect_second_moments(model, batches(), blocks, []).grams
    )
    assert seen.grams.keys() == expected.keys()
    assert all(torch.equal(gram, expected[name]) for name, gram in seen.grams.items())
    assert seen.tokens == 12
    assert ticks == [0, 1, 2]
    assert [int(counts.sum()) for name, counts in seen.counts.items() if "word" in name] == [12]


@pytest.mark.parametrize("weighting", ["even", "influence"])
def test_broken_weights_are_named(weighting):
    model = made(BertForSequenceClassification)
    model.bert.embeddings.word_embeddings.weight.data[7] = float("nan")
    with pytest.raises(InputError, match=r"query: its inputs are NaN"):
        calibrate(model, batches(), trace(model, batches()[0]).blocks, weighting=weighting)
