import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from dsformer.format.pattern import Pattern
from dsformer.format.precision import INT8, Precision
from dsformer.format.quantized import quantize_form
from dsformer.format.spec import FormSpec
from dsformer.nn.embedding import DenseSparseEmbedding, TiedEmbedding, TiedHead
from dsformer.ops.cpu import CpuTable
from fixtures.forms import random_form
from fixtures.native import native_library  # noqa: F401

VARIANTS = [
    {"atoms": 8, "core": 2, "nonzeros": 3},
    {"atoms": 8, "core": 8},
    {"atoms": 8, "nonzeros": 4, "permuted": True},
    {"atoms": 6, "core": 1, "nonzeros": 5, "canonical": True},
    {"atoms": 0, "nonzeros": 5, "canonical": True},
    {"atoms": 8, "nonzeros": 4, "pattern": Pattern(n=2, m=4), "permuted": True},
    {"atoms": 8, "core": 1, "nonzeros": 3, "pattern": Pattern(group=4), "permuted": True},
]
SPECS = [FormSpec("input", 20, 12, **variant) for variant in VARIANTS]
IDS = torch.tensor([[3, 0, 19], [7, 7, 1]])


def embedding(spec: FormSpec, padding_idx: int | None = None) -> DenseSparseEmbedding:
    layer = DenseSparseEmbedding(spec, padding_idx, dtype=torch.float64)
    layer.fill(random_form(spec, dtype=torch.float64))
    return layer


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("ids", [IDS, IDS[0], torch.tensor(4), IDS[:0], IDS.int()], ids=lambda t: str(list(t.shape)))
def test_is_the_embedding_its_form_stands_for(spec: FormSpec, ids: torch.Tensor):
    layer, weight = embedding(spec), random_form(spec, dtype=torch.float64).dense()
    torch.testing.assert_close(layer(ids), nn.functional.embedding(ids, weight))
    with torch.no_grad():
        torch.testing.assert_close(layer(ids), nn.functional.embedding(ids, weight))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_row_of_padding_is_the_same_and_gets_no_gradient(spec: FormSpec):
    layer = embedding(spec, padding_idx=7)
    dense = layer.densified()
    torch.testing.assert_close(layer(IDS), dense(IDS))
    layer(IDS).sin().sum().backward()
    expected = torch.autograd.grad(nn.functional.embedding(IDS, dense.weight, 7).sin().sum(), dense.weight)[0]
    unpadded = embedding(spec)
    weight = unpadded.form().dense()
    torch.testing.assert_close(layer(IDS), unpadded(IDS))
    (codes,) = torch.autograd.grad((unpadded(torch.arange(20)) * expected).sum(), unpadded.weight)
    torch.testing.assert_close(layer.weight.grad, codes)
    assert weight.shape == (20, 12)


def test_sizes_are_readable():
    layer = embedding(SPECS[0])
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (20, 12, None)
    assert layer.weight.shape == (20, 5)
    assert "20, 12" in repr(layer)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.usefixtures("unchecked")
def test_compiles_whole(spec: FormSpec):
    layer = embedding(spec)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(IDS), layer(IDS))
    torch._dynamo.reset()


class Tied(nn.Module):
    def __init__(self, spec: FormSpec):
        super().__init__()
        self.embed = embedding(spec, padding_idx=1)
        self.decoder_embed = TiedEmbedding(self.embed)
        self.head = TiedHead(self.embed, nn.Parameter(torch.randn(20, dtype=torch.float64)))
        self.eval()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(ids) + self.decoder_embed(ids.flip(-1)))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_tied_modules(spec: FormSpec):
    model = Tied(spec)
    weight = model.embed.form().dense()
    hidden = nn.functional.embedding(IDS, weight) + nn.functional.embedding(IDS.flip(-1), weight)
    expected = linear(hidden, weight, model.head.bias)
    torch.testing.assert_close(model(IDS), expected)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), expected)
    assert sorted(model.state_dict()) == sorted([*(f"embed.{key}" for key in model.embed.state_dict()), "head.bias"])


def test_tied_modules_follow_their_embedding():
    model = Tied(SPECS[2])
    with torch.no_grad():
        model(IDS)
        model.embed.weight.mul_(2)
        rows = model.head(torch.eye(12, dtype=torch.float64)) - model.head.bias
        torch.testing.assert_close(rows.T, model.embed.form().dense())


def test_gradients_of_all_readers_add_up():
    model = Tied(SPECS[0])
    model.embed.padding_idx = None  # what padding gets is not the derivative, but zero
    assert torch.autograd.gradcheck(lambda *_: model(IDS), tuple(model.parameters()))


def test_tied_modules_are_copied_with_their_embedding():
    model = Tied(SPECS[0])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.head.owner is other.embed
        assert other.decoder_embed.owner is other.embed
        assert torch.equal(other(IDS), model(IDS))


def test_tying_again_changes_nothing_and_untying_is_refused():
    model = Tied(SPECS[0])
    model.head.weight = model.embed.weight
    assert model.head.weight is model.embed.weight
    assert "head.weight" not in model.state_dict()
    with pytest.raises(AttributeError, match="cannot be replaced"):
        model.head.weight = nn.Parameter(torch.zeros(20, 12))


PRECISIONS = [None, INT8, Precision(4, 8), Precision(4, 4)]


def stored_embedding(spec: FormSpec, precision: Precision | None, dtype: torch.dtype) -> DenseSparseEmbedding:
    layer = DenseSparseEmbedding(spec, 7, dtype=dtype, precision=precision)
    layer.fill(quantize_form(random_form(spec), precision) if precision else random_form(spec))
    return layer


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_by_the_kernels(spec, precision, dtype, native_library, monkeypatch):  # noqa: F811
    layer, far = stored_embedding(spec, precision, dtype), {"rtol": 0.01, "atol": 0.01} if dtype.itemsize == 2 else {}
    with torch.no_grad():
        rows = layer(IDS)
        assert layer._unpacked.numbers._entry is None  # neither numbers nor indices have been unpacked
        assert layer._unpacked.indices._entry is None
        torch.testing.assert_close(rows, layer.operate(IDS), **far)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(IDS), layer.operate(IDS), **far)
        with pytest.raises(IndexError, match="0 to 19"):
            layer(torch.tensor([20]))
    monkeypatch.setenv("DSFORMER_KERNELS", "reference")
    again = copy.deepcopy(layer)
    with torch.inference_mode():
        assert torch.equal(again(IDS), layer.operate(IDS))


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.usefixtures("unchecked")
def test_rows_by_the_kernels_in_compiled_graphs(precision: Precision | None, native_library, monkeypatch):  # noqa: F811
    calls = []
    call = CpuTable.__call__
    monkeypatch.setattr(CpuTable, "__call__", lambda self, ids: calls.append(ids) or call(self, ids))
    layer = stored_embedding(SPECS[0], precision, torch.float32)
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(IDS), layer.operate(IDS))
        assert calls
        layer.weight.zero_()
        assert not compiled(IDS).any()
    calls.clear()
    if precision is None:
        compiled(IDS).sum().backward()
        given = layer.weight.grad.clone()
        layer.weight.grad = None
        layer.operate(IDS).sum().backward()
        assert given.any()
        torch.testing.assert_close(given, layer.weight.grad)
        assert not calls
    exported = torch.export.export(layer, (IDS,))
    assert "packed_embedding" not in str(exported)
    torch._dynamo.reset()
