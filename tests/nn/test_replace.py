import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transformers.pytorch_utils import Conv1D

from dsformer.errors import ArtefactError, InputError
from dsformer.format.pattern import Pattern
from dsformer.format.schema import BlockConfig, parse_blocks
from dsformer.format.spec import FormSpec
from dsformer.nn.embedding import TiedEmbedding, TiedHead
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.replace import densify, install, install_forms, read_forms
from fixtures.forms import random_form


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 16, padding_idx=1)
        self.again = self.embed
        self.other = nn.Embedding(20, 16)
        self.other.weight = self.embed.weight
        self.layer = nn.ModuleDict({name: nn.Linear(16, 8, bias=name != "k") for name in "qkv"})
        self.conv = Conv1D(16, 24)
        self.head = nn.Linear(16, 20)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) + self.again(ids) + self.other(ids)
        x = torch.cat([layer(x) for layer in self.layer.values()], -1)
        return self.head(self.conv(x))


SPECS = {
    "qkv": FormSpec("input", 24, 16, atoms=6, core=1, nonzeros=2, pattern=Pattern(4), permuted=True),
    "conv": FormSpec("output", 16, 24, atoms=8, nonzeros=3),
    "embed": FormSpec("input", 20, 16, atoms=8, nonzeros=4),
}
BLOCKS = [
    BlockConfig.of("linear", [(f"layer.{name}", 8) for name in "qkv"], SPECS["qkv"]),
    BlockConfig.of("conv1d", [("conv", 16)], SPECS["conv"]),
    BlockConfig.of("embedding", [("embed", 20)], SPECS["embed"], ["other", "head"]),
]
FORMS = [random_form(SPECS["qkv"], 1, (8, 8, 8)), random_form(SPECS["conv"], 2), random_form(SPECS["embed"], 3)]
IDS = torch.tensor([[1, 5, 19], [2, 2, 0]])


def compressed() -> Model:
    torch.manual_seed(0)
    model = Model().eval()
    install_forms(model, BLOCKS, FORMS)
    return model


def test_the_model_is_the_one_with_the_weights_the_forms_stand_for():
    torch.manual_seed(0)
    dense = Model()
    weight = FORMS[0].dense()
    with torch.no_grad():
        for i, name in enumerate("qkv"):
            dense.layer[name].weight.copy_(weight[8 * i : 8 * i + 8])
        dense.conv.weight.copy_(FORMS[1].dense().T)
        dense.embed.weight.copy_(FORMS[2].dense())
    torch.testing.assert_close(compressed()(IDS), dense(IDS))


def test_modules_are_swapped_in_place():
    model = compressed()
    assert all(type(layer) is DenseSparseLinear for layer in (*model.layer.values(), model.conv))
    assert not model.layer["q"].training
    assert model.again is model.embed
    assert type(model.other) is TiedEmbedding
    assert type(model.head) is TiedHead
    assert model.embed.padding_idx == 1
    assert model.layer["k"].bias is None
    assert model.layer["v"]._lead[0] is model.layer["q"]
    assert isinstance(copy.deepcopy(model), Model)


def test_forms_can_be_read_back():
    forms = read_forms(compressed())
    assert set(forms) == {"layer.q", "layer.k", "layer.v", "conv", "embed"}
    torch.testing.assert_close(forms["layer.k"].dense(), FORMS[0].dense()[8:16])
    assert forms["layer.k"].dictionary.data_ptr() == forms["layer.q"].dictionary.data_ptr()


def test_densified():
    model = compressed()
    expected = model(IDS)
    densify(model)
    assert [type(m) for m in (model.layer["q"], model.conv, model.embed, model.head)] == [
        nn.Linear,
        Conv1D,
        nn.Embedding,
        nn.Linear,
    ]
    assert model.head.weight is model.embed.weight is model.other.weight
    torch.testing.assert_close(model(IDS), expected)


def test_values_can_be_stored_in_another_type():
    torch.manual_seed(0)
    model = Model()
    install_forms(model, BLOCKS, FORMS, torch.bfloat16)
    assert model.layer["q"].weight.dtype == model.layer["q"].bias.dtype == torch.bfloat16
    assert model.layer["q"].support.dtype == torch.uint8


def test_on_the_meta_device_nothing_is_allocated():
    with torch.device("meta"):
        model = Model()
    install(model, BLOCKS)
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}


REFUSED = {
    "missing": ("linear", "nowhere", 8, 16, "nowhere: the model has no such module"),
    "other kind": ("linear", "conv", 16, 24, "conv: the model has a Conv1D"),
    "not a layer": ("linear", "layer", 8, 16, "layer: the model has a ModuleDict"),
    "other size": ("linear", "layer.q", 9, 16, r"layer.q: the model's layer is \(8, 16\)"),
}


@pytest.mark.parametrize(("kind", "name", "out", "width", "message"), REFUSED.values(), ids=REFUSED)
def test_blocks_that_do_not_fit_are_refused(kind: str, name: str, out: int, width: int, message: str):
    spec = FormSpec("input", out, width, atoms=4, core=4)
    model = Model()
    with pytest.raises(ArtefactError, match=message):
        install(model, [*BLOCKS, BlockConfig.of(kind, [(name, out)], spec)])
    assert type(model.conv) is Conv1D, "nothing is replaced unless everything fits"


def test_a_subclass_may_do_something_else_and_is_refused():
    class Scaled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    model = nn.ModuleDict({"a": Scaled(16, 8)})
    with pytest.raises(ArtefactError, match="a: the model has a Scaled"):
        install(model, [BlockConfig.of("linear", [("a", 8)], FormSpec("input", 8, 16, atoms=4, core=4))])


@pytest.mark.parametrize("options", [{"max_norm": 1.0}, {"sparse": True}, {"scale_grad_by_freq": True}], ids=str)
def test_embeddings_with_options_are_refused(options: dict):
    model = nn.ModuleDict({"embed": nn.Embedding(20, 16, **options)})
    with pytest.raises(ArtefactError, match="not supported"):
        install(model, [BlockConfig.of("embedding", [("embed", 20)], SPECS["embed"])])


def test_tied_modules_must_fit():
    for name, message in (("layer.q", "is .8, 16."), ("conv", "Conv1D cannot be tied"), ("gone", "no such module")):
        with pytest.raises(ArtefactError, match=message):
            install(Model(), [BlockConfig.of("embedding", [("embed", 20)], SPECS["embed"], [name])])


def test_a_form_must_be_that_of_its_block():
    with pytest.raises(InputError, match="conv: the form"):
        install_forms(Model(), BLOCKS[1:2], [random_form(FormSpec("output", 16, 24, atoms=8, nonzeros=4))])
    with pytest.raises(InputError, match="1 blocks, but 2 forms"):
        install_forms(Model(), BLOCKS[1:2], FORMS[:2])


GOOD = BLOCKS[0].model_dump(mode="json")
BAD = {
    "unknown field": ({"colour": 1}, "colour"),
    "text for a number": ({"atoms": "6"}, "atoms"),
    "a number for a truth value": ({"canonical": 1}, "canonical"),
    "a fraction": ({"core": 1.0}, "core"),
    "negative": ({"nonzeros": -1}, "nonzeros"),
    "huge": ({"in_features": 2**40}, "in_features"),
    "more core atoms than atoms": ({"core": 7}, "impossible form"),
    "more non-zeros than candidates": ({"nonzeros": 6}, "impossible form"),
    "no atoms": ({"atoms": 0, "core": 0, "nonzeros": 0}, "no atoms"),
    "too many atoms": ({"atoms": 41}, "more than the weight has rows and columns"),
    "too many values": ({"atoms": 40, "core": 1, "nonzeros": 39, "pattern": "free"}, "twice the values"),
    "unknown pattern": ({"pattern": "woven"}, "pattern"),
    "groups that do not divide": ({"pattern": "grouped(5)"}, "groups"),
    "groups across members": ({"pattern": "grouped(3)"}, "groups"),
    "no members": ({"members": []}, "members"),
    "a member twice": ({"members": [{"name": "a", "out_features": 8}] * 2}, "twice"),
    "output dictionary of several": ({"orientation": "output", "pattern": "free"}, "input dictionary"),
    "unknown kind": ({"kind": "convolution"}, "kind"),
    "unknown orientation": ({"orientation": "up"}, "orientation"),
    "tied linear": ({"tied": ["x"]}, "only an embedding"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_nonsense_is_refused_in_one_line(change: dict, message: str):
    with pytest.raises(ArtefactError, match=message) as caught:
        parse_blocks([BLOCKS[1].model_dump(mode="json"), GOOD | change])
    assert str(caught.value).startswith("blocks.1")
    assert "\n" not in str(caught.value)


def test_embedding_codes_must_not_look_like_vectors():
    """Else a program without this package would load them as such."""
    with pytest.raises(InputError, match="another length"):
        BlockConfig.of("embedding", [("embed", 200)], FormSpec("input", 200, 16, atoms=20, core=16))


@pytest.mark.parametrize("blocks", [None, {}, "linear", [None], [1]])
def test_what_is_no_list_of_blocks_is_refused(blocks: object):
    with pytest.raises(ArtefactError, match="blocks"):
        parse_blocks(blocks)


def test_a_module_can_be_in_one_block_only():
    with pytest.raises(ArtefactError, match="in two"):
        parse_blocks([GOOD, GOOD])


def test_round_trip_of_a_description():
    for block in BLOCKS:
        assert BlockConfig.model_validate(block.model_dump(mode="json", exclude_defaults=True)) == block
        assert block.spec() == SPECS[{"layer.q": "qkv"}.get(block.names[0], block.names[0])]
    with pytest.raises(ValidationError):
        BLOCKS[0].atoms = 3
