import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DebertaConfig,
    DebertaModel,
    DebertaV2Config,
    DebertaV2Model,
)

from dsformer.calibration.kfac import EVEN, collect_kfac_factors
from dsformer.calibration.second_moments import collect_second_moments
from dsformer.calibration.trace import trace

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
LAST = "bert.encoder.layer.1.intermediate.dense"


def padded():
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SMALL, vocab_size=400, num_labels=3)).eval()


def inputs_of(model, name):
    """What a module reads."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with torch.no_grad():
        model(**padded())
    handle.remove()
    return seen[0]


def test_a_classifier_reads_the_first_token_of_its_last_layer(classifier):
    blocks = trace(classifier, padded()).blocks
    found, outputs = collect_kfac_factors(classifier, [padded()], blocks)
    x = inputs_of(classifier, LAST)
    tokens = torch.tensor([4.0, 2.0])
    weights = torch.full((2, 4), EVEN)
    weights[:, 0] += (1 - EVEN) * tokens
    rows = x[padded()["attention_mask"].bool()]
    expected = (rows * weights[padded()["attention_mask"].bool()][:, None]).T @ rows
    torch.testing.assert_close(found[LAST].float(), expected, rtol=1e-4, atol=1e-4)
    # Of every text, one token's gradients, in units of the mean over all of its tokens.
    assert float(outputs[LAST].trace()) == pytest.approx(float(tokens.sum()), rel=1e-3)
    assert int(torch.linalg.matrix_rank(outputs[LAST], rtol=1e-4)) == 2


def test_earlier_layers_weigh_all_tokens(classifier):
    blocks = trace(classifier, padded()).blocks
    plain = collect_second_moments(classifier, [padded()], blocks, []).grams
    found, outputs = collect_kfac_factors(classifier, [padded()], blocks)
    assert found.keys() == outputs.keys() == plain.keys()
    assert {name: len(gram) for name, gram in outputs.items()} == {block.name: block.shape[0] for block in blocks}
    for gram in [*found.values(), *outputs.values()]:
        assert torch.allclose(gram, gram.T)
        assert torch.linalg.eigvalsh(gram).min() > -1e-3
    first = "bert.encoder.layer.0.attention.self.query"
    assert 0.3 < float(found[first].trace() / plain[first].trace()) < 3


def test_padding_does_not_count(classifier):
    blocks = trace(classifier, padded()).blocks
    longer = {name: torch.nn.functional.pad(tensor, (0, 3)) for name, tensor in padded().items()}
    pairs = [collect_kfac_factors(classifier, [batch], blocks) for batch in (padded(), longer)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one[LAST], other[LAST], rtol=1e-3, atol=1e-3)


def test_the_model_is_left_as_it_was(classifier):
    classifier.bert.embeddings.requires_grad_(False)
    trained = {name for name, p in classifier.named_parameters() if p.requires_grad}
    collect_kfac_factors(classifier, [padded()], trace(classifier, padded()).blocks)
    assert {name for name, p in classifier.named_parameters() if p.requires_grad} == trained
    assert all(p.grad is None for p in classifier.parameters())
    assert not any(module._forward_hooks for module in classifier.modules())


def test_shared_layers_add_up_their_uses():
    torch.manual_seed(0)
    config = AlbertConfig(**SMALL, embedding_size=32, vocab_size=400, num_labels=2)
    model = AlbertForSequenceClassification(config).eval()
    blocks = trace(model, padded()).blocks
    found, plain = (
        collect_kfac_factors(model, [padded()], blocks)[0],
        collect_second_moments(model, [padded()], blocks, []).grams,
    )
    shared = next(name for name in found if "query" in name)
    assert 0.3 < float(found[shared].trace() / plain[shared].trace()) < 3


def test_hidden_states_where_there_is_no_head():
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL, vocab_size=400)).eval()
    blocks = [block for block in trace(model, padded()).blocks if "pooler" not in block.name]
    found, _ = collect_kfac_factors(model, [padded()], blocks)
    assert found.keys() == {block.name for block in blocks}
    assert all(float(gram.trace()) > 0 for gram in found.values())


def test_layers_that_read_no_token():
    """DeBERTa's queries and keys are asked about relative positions too."""
    torch.manual_seed(0)
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
    config = DebertaV2Config(**SMALL, **relative, position_buckets=8, norm_rel_ebd="layer_norm", vocab_size=400)
    model = DebertaV2Model(config).eval()
    found, _ = collect_kfac_factors(model, [padded()], trace(model, padded()).blocks)
    first = "encoder.layer.0.attention.self."
    assert {first + "query_proj", first + "value_proj"} <= found.keys()


def test_as_many_classes_as_tokens(classifier):
    """Then logits have the shape of the mask, but padding is none of them."""
    classifier.classifier = torch.nn.Linear(64, 4)
    _, before = collect_kfac_factors(classifier, [padded()], trace(classifier, padded()).blocks)
    longer = {name: torch.nn.functional.pad(tensor, (0, 3)) for name, tensor in padded().items()}
    _, after = collect_kfac_factors(classifier, [longer], trace(classifier, padded()).blocks)
    torch.testing.assert_close(before[LAST], after[LAST], rtol=1e-3, atol=1e-3)


def test_outputs_that_are_changed_in_place():
    """The first DeBERTa adds to what layers say of relative positions, which depends on no token."""
    torch.manual_seed(0)
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}
    model = DebertaModel(DebertaConfig(**SMALL, **relative, vocab_size=400)).eval()
    blocks = trace(model, padded()).blocks
    found, _ = collect_kfac_factors(model, [padded()], blocks)
    assert any("pos_q_proj" in name for block in blocks for name in block.names)
    assert all(float(gram.trace()) > 0 for gram in found.values())


@pytest.mark.parametrize("what", ["output", "input"])
def test_gradients_are_those_of_what_a_layer_said(classifier, what):
    """Whatever the model does in place to that afterwards, or to what the layer read."""
    blocks = trace(classifier, padded()).blocks
    dense = classifier.get_submodule(LAST)
    plain = dense.forward

    def forward(x, inplace):
        out = plain(x)
        if what == "output":
            return out.mul_(3) if inplace else out * 3
        if inplace:
            x.mul_(1)
            x.add_(5).sub_(5)
        return out

    found = []
    for inplace in (False, True):
        dense.forward = lambda x, inplace=inplace: forward(x, inplace)
        found.append(collect_kfac_factors(classifier, [padded()], blocks))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one[LAST], other[LAST], rtol=1e-4, atol=1e-6)


def test_models_that_round_what_they_compute_have_tokens_that_count_alike(classifier):
    class Rounded(torch.nn.Module):
        def forward(self, x):
            return x.detach()

    classifier.dropout = Rounded()
    classifier.classifier.requires_grad_(False)
    blocks = [block for block in trace(classifier, padded()).blocks if "layer.1" in block.name]
    found, outputs = collect_kfac_factors(classifier, [padded()], blocks)
    plain = collect_second_moments(classifier, [padded()], blocks, []).grams
    for name, gram in found.items():
        torch.testing.assert_close(gram, plain[name], rtol=1e-4, atol=1e-4)
        assert not outputs[name].any()
