import copy
import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedModel,
    T5Config,
    T5ForSequenceClassification,
)

from dsformer.errors import InputError
from dsformer.models.pooling import first_pooling, mean_pooling
from dsformer.training.distillation import TERMS, Distiller, _products
from fixtures.models import ARCHITECTURES, inputs, tiny_model

LAYERS = [[f"bert.encoder.layer.{i}.attention.self.{name}" for name in ("query", "key", "value")] for i in (0, 1)]
LAST = [(LAYERS[1], LAYERS[1])]
MODELS = {
    "logits": ("BertForMaskedLM", ()),
    "hidden": ("BertForMaskedLM", ()),
    "attention": ("BertForMaskedLM", [(layer, layer) for layer in LAYERS]),
    "relations": ("BertForMaskedLM", LAST),
    "embeddings": ("BertModel", ()),
}


def encoder() -> PreTrainedModel:
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=101, max_position_embeddings=40, **size)).eval()


def opened(name: str) -> PreTrainedModel:
    return encoder() if name == "BertModel" else tiny_model(name)


def changed(model: PreTrainedModel, size: float = 0.05) -> PreTrainedModel:
    other = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return other


def loss(teacher: PreTrainedModel, student: PreTrainedModel, distiller: Distiller, batch: dict[str, Tensor]) -> Tensor:
    return distiller(student(**batch, **distiller.wants), batch)


def padded(batch: dict[str, Tensor], filler: int) -> dict[str, Tensor]:
    """The batch with three more positions that are masked."""
    ids = torch.cat([batch["input_ids"], torch.full((2, 3), filler)], 1)
    return {"input_ids": ids, "attention_mask": (torch.arange(12) < 9).long().expand(2, 12)}


@pytest.mark.parametrize("term", TERMS)
def test_an_identical_student_has_nothing_to_learn(term: str):
    name, attention = MODELS[term]
    teacher = opened(name)
    student = copy.deepcopy(teacher).requires_grad_(True)
    distiller = Distiller(teacher, student, [term], attention=attention)
    assert loss(teacher, student, distiller, inputs(student)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_another_student_learns_from_a_teacher_that_stays(term: str):
    name, attention = MODELS[term]
    teacher = opened(name)
    student = changed(teacher)
    before = copy.deepcopy(teacher.state_dict())
    distiller = Distiller(teacher, student, [term], attention=attention)
    first = loss(teacher, student, distiller, inputs(student))
    assert first.item() > 1e-4
    first.backward()
    slopes = [(p, p.grad) for p in student.parameters() if p.grad is not None]
    # As far as would take away a tenth if the loss were straight.
    length = 0.1 * first.item() / sum(float(slope.square().sum()) for _, slope in slopes)
    with torch.no_grad():
        for parameter, slope in slopes:
            parameter -= length * slope
    assert loss(teacher, student, distiller, inputs(student)).item() < first.item()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(teacher.state_dict()[key], tensor) for key, tensor in before.items())


@pytest.mark.parametrize("term", TERMS)
def test_padding_counts_for_nothing(term: str):
    name, attention = MODELS[term]
    teacher = opened(name)
    student = changed(teacher)
    distiller = Distiller(teacher, student, [term], attention=attention)
    with torch.no_grad():
        bare = loss(teacher, student, distiller, inputs(student))
        for filler in (0, 7):
            torch.testing.assert_close(loss(teacher, student, distiller, padded(inputs(student), filler)), bare)


def test_terms_add_up():
    teacher = tiny_model("BertForMaskedLM")
    student = changed(teacher)
    parts = [
        loss(teacher, student, Distiller(teacher, student, [term], attention=LAST), inputs(student))
        for term in ("logits", "hidden", "relations")
    ]
    whole = Distiller(teacher, student, ["logits", "hidden", "relations"], attention=LAST)
    torch.testing.assert_close(loss(teacher, student, whole, inputs(student)), torch.stack(parts).sum())


class Fixed(nn.Module):
    """Gives the same outputs whatever comes in."""

    def __init__(self, **outputs: Tensor):
        super().__init__()
        self.outputs = outputs

    def forward(self, **_: object) -> dict[str, Tensor]:
        return self.outputs


def softened(student: Tensor, teacher: Tensor, name: str = "logits", temperature: float = 2.0) -> Tensor:
    mask = {"attention_mask": torch.ones(student.shape[:2], dtype=torch.long)}
    distiller = Distiller(Fixed(**{name: teacher}), nn.Identity(), ["logits"], temperature)
    return distiller({name: student}, mask)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_logits_are_compared_at_a_temperature(temperature: float):
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(softened(student, teacher, temperature=temperature), expected)


def test_a_single_output_is_compared_by_its_square():
    student, teacher = torch.randn(4, 1), torch.randn(4, 1)
    torch.testing.assert_close(softened(student, teacher), (student - teacher).square().mean())


@pytest.mark.parametrize("name", ["start_logits", "end_logits"])
def test_positions_that_cannot_be_answers_do_no_harm(name: str):
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    real = student[:, :4].clone().requires_grad_()
    expected = softened(real, teacher[:, :4], name)
    expected.backward()
    student[:, 4:] = teacher[:, 4:] = -math.inf
    student.requires_grad_()
    found = softened(student, teacher, name)
    torch.testing.assert_close(found, expected)
    found.backward()
    torch.testing.assert_close(student.grad[:, :4], real.grad)
    assert not student.grad[:, 4:].any()


def test_embeddings_follow_the_pooling():
    hidden, weight = torch.randn(2, 3, 4), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(mean_pooling(hidden, weight), torch.stack([hidden[0, :2].mean(0), hidden[1].mean(0)]))
    assert torch.equal(first_pooling(hidden, weight), hidden[:, 0])
    mask = {"attention_mask": weight.long()}
    student = hidden.clone()
    student[:, 1:] += 1
    first = Distiller(Fixed(last_hidden_state=hidden), nn.Identity(), ["embeddings"], pooling=first_pooling)
    mean = Distiller(Fixed(last_hidden_state=hidden), nn.Identity(), ["embeddings"])
    assert float(first({"last_hidden_state": student}, mask)) == pytest.approx(0, abs=1e-6)
    assert float(mean({"last_hidden_state": student}, mask)) > 0.01


def test_what_cannot_be_distilled():
    model = tiny_model("BertForMaskedLM")
    with pytest.raises(InputError, match="'values' is not one of logits, hidden, attention, relations, embeddings"):
        Distiller(model, model, ["logits", "values"])
    for term, attention in product(("attention", "relations"), ([], [(LAYERS[1][:1], LAYERS[1][:1])])):
        with pytest.raises(InputError, match=f"{term} needs separate queries, keys and values"):
            Distiller(model, model, [term], attention=attention)
    with pytest.raises(InputError, match="embeddings need a model without a head"):
        loss(model, model, Distiller(model, model, ["embeddings"]), inputs(model))
    bare = encoder()
    with pytest.raises(InputError, match="the model gives no logits"):
        loss(bare, bare, Distiller(bare, bare, ["logits"]), inputs(bare))


def test_relations_keep_nothing_of_a_batch_that_is_done():
    teacher = BertForSequenceClassification(encoder().config)
    student = changed(teacher)
    distiller = Distiller(teacher, student, ["relations"], attention=LAST)
    loss(teacher, student, distiller, inputs(student))
    assert [[watch.taken() for watch in pair] for pair in distiller.watched] == [[[], []]]
    assert distiller.seen == []


def test_the_teacher_runs_in_the_type_of_training():
    teacher = encoder()
    student, seen = changed(teacher), []
    distiller = Distiller(teacher, student, ["hidden"])
    distiller.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    teacher.encoder.layer[0].output.dense.register_forward_hook(
        lambda _module, _args, output: seen.append(output.dtype)
    )
    plain = Distiller(copy.deepcopy(teacher), student, ["hidden"])
    batch = inputs(student)
    ours = loss(teacher, student, distiller, batch)
    assert seen == [torch.bfloat16]
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(loss(teacher, student, plain, batch).item(), rel=0.02)


def test_attention_is_that_of_the_model():
    teacher = encoder()
    teacher.config._attn_implementation = "eager"
    names = [f"encoder.layer.0.attention.self.{name}" for name in ("query", "key", "value")]
    student, batch = changed(teacher, 0.5), inputs(teacher)

    @torch.no_grad()
    def products(model: PreTrainedModel) -> Tensor:
        attention, hidden = model.encoder.layer[0].attention.self, model.embeddings(batch["input_ids"])
        found = _products(attention.query(hidden), attention.key(hidden), 4)
        torch.testing.assert_close(found.softmax(-1), model(**batch, output_attentions=True).attentions[0])
        return found

    ours, theirs = products(student), products(teacher)
    found = loss(teacher, student, Distiller(teacher, student, ["attention"], attention=[(names, names)]), batch)
    torch.testing.assert_close(found, (ours - theirs).square().mean() / theirs.square().mean())


def test_keys_may_be_shared_by_heads():
    queries, keys = torch.randn(2, 3, 8), torch.randn(2, 3, 4)
    every = keys.view(2, 3, 2, 2).repeat_interleave(2, 2).reshape(2, 3, 8)
    torch.testing.assert_close(_products(queries, keys, 4), _products(queries, every, 4))


def test_hidden_states_of_encoder_and_decoder():
    teacher = T5ForSequenceClassification(T5Config(**ARCHITECTURES["T5ForConditionalGeneration"])).eval()
    student = changed(copy.deepcopy(teacher))
    distiller = Distiller(teacher, student, ["hidden"])
    ids = torch.randint(3, 100, (2, 9))
    ids[:, -1] = teacher.config.eos_token_id
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert loss(teacher, student, distiller, batch) > 0.01
    same = Distiller(teacher, copy.deepcopy(teacher), ["hidden"])
    assert loss(teacher, copy.deepcopy(teacher), same, batch).item() == pytest.approx(0, abs=1e-6)
