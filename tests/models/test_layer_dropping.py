import pytest
import torch

from dsformer.errors import InputError
from dsformer.models.layer_dropping import drop_layers, find_in_teacher, teacher_layer
from fixtures.models import inputs, tiny_model

NAMES = ["BertForMaskedLM", "DistilBertForSequenceClassification", "GPT2LMHeadModel", "LlamaForCausalLM"]


@pytest.mark.parametrize("name", [*NAMES, "Qwen2ForCausalLM"])
def test_one_layer_of_two_is_the_last(name: str):
    model, whole = tiny_model(name), tiny_model(name)
    dropped = drop_layers(model, 2.0)
    assert len(dropped) == 1
    assert model.config.num_hidden_layers == 1
    again = type(model)(model.config).eval()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        first, second, before = (one(**inputs(one))[0] for one in (model, again, whole))
    assert torch.equal(first, second)
    assert not torch.allclose(first, before)
    assert all(module.layer_idx == 0 for module in model.modules() if hasattr(module, "layer_idx"))


def test_a_decoder_that_was_shortened_generates():
    model = tiny_model("LlamaForCausalLM")
    drop_layers(model, 2.0)
    ids = inputs(model)["input_ids"]
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape == (2, ids.shape[1] + 3)


@pytest.mark.parametrize("name", ["AlbertForMaskedLM", "T5ForConditionalGeneration"])
def test_models_without_one_list_of_layers(name: str):
    with pytest.raises(InputError, match="method student: this model has no one list of layers"):
        drop_layers(tiny_model(name), 2.0)


def test_layers_that_are_not_alike():
    with pytest.raises(InputError, match="the layers of this model are not alike"):
        drop_layers(tiny_model("ModernBertForMaskedLM"), 2.0)


def test_layers_are_spread_evenly():
    assert [teacher_layer(i, 6, 12) for i in range(1, 7)] == [2, 4, 6, 8, 10, 12]
    assert [teacher_layer(i, 4, 6) for i in range(1, 5)] == [2, 3, 4, 6]
    assert [teacher_layer(i, 6, 6) for i in range(1, 7)] == [1, 2, 3, 4, 5, 6]


def test_names_in_the_teacher():
    student, teacher = tiny_model("BertForMaskedLM"), tiny_model("BertForMaskedLM")
    names = ["bert.encoder.layer.0.attention.self.query"]
    drop_layers(student, 2.0)
    assert find_in_teacher(names, 0, student, teacher) == ["bert.encoder.layer.1.attention.self.query"]
    assert find_in_teacher(names, 0, teacher, teacher) == names
