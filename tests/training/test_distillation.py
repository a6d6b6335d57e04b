import copy
import math

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedModel

from dsformer.errors import InputError
from dsformer.training.distillation import TERMS, Distiller, first_pooling, mean_pooling
from fixtures.models import inputs, tiny_model

QKV = [f"bert.encoder.layer.1.attention.self.{name}" for name in ("query", "key", "value")]
MODELS = {
    "logits": ("BertForMaskedLM", ()),
    "hidden": ("BertForMaskedLM", ()),
    "relations": ("BertForMaskedLM", QKV),
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
    distiller = Distiller(teacher, student, [term], attention=(attention, attention))
    assert loss(teacher, student, distiller, inputs(student)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_another_student_learns_from_a_teacher_that_stays(term: str):
    name, attention = MODELS[term]
    teacher = opened(name)
    student = changed(teacher)
    before = copy.deepcopy(teacher.state_dict())
    distiller = Distiller(teacher, student, [term], attention=(attention, attention))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.02)
    first = loss(teacher, student, distiller, inputs(student))
    assert first.item() > 1e-4
    first.backward()
    optimizer.step()
    assert loss(teacher, student, distiller, inputs(student)).item() < first.item()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(teacher.state_dict()[key], tensor) for key, tensor in before.items())


@pytest.mark.parametrize("term", TERMS)
def test_padding_counts_for_nothing(term: str):
    name, attention = MODELS[term]
    teacher = opened(name)
    student = changed(teacher)
    distiller = Distiller(teacher, student, [term], attention=(attention, attention))
    with torch.no_grad():
        bare = loss(teacher, student, distiller, inputs(student))
        for filler in (0, 7):
            torch.testing.assert_close(loss(teacher, student, distiller, padded(inputs(student), filler)), bare)


def test_terms_add_up():
    teacher = tiny_model("BertForMaskedLM")
    student = changed(teacher)
    parts = [
        loss(teacher, student, Distiller(teacher, student, [term], attention=(QKV, QKV)), inputs(student))
        for term in ("logits", "hidden", "relations")
    ]
    whole = Distiller(teacher, student, ["logits", "hidden", "relations"], attention=(QKV, QKV))
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
    expected = softened(student[:, :4], teacher[:, :4], name)
    student[:, 4:] = teacher[:, 4:] = -math.inf
    student.requires_grad_()
    found = softened(student, teacher, name)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())
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
    with pytest.raises(InputError, match="'attention' is not one of logits, hidden, relations, embeddings"):
        Distiller(model, model, ["logits", "attention"])
    for attention in ((), QKV[:1]):
        with pytest.raises(InputError, match="relations need separate queries, keys and values"):
            Distiller(model, model, ["relations"], attention=(attention, attention))
    with pytest.raises(InputError, match="embeddings need a model without a head"):
        loss(model, model, Distiller(model, model, ["embeddings"]), inputs(model))
    bare = encoder()
    with pytest.raises(InputError, match="the model gives no logits"):
        loss(bare, bare, Distiller(bare, bare, ["logits"]), inputs(bare))


def test_relations_keep_nothing_of_a_batch_that_is_done():
    teacher = BertForSequenceClassification(encoder().config)
    student = changed(teacher)
    distiller = Distiller(teacher, student, ["relations"], attention=(QKV, QKV))
    loss(teacher, student, distiller, inputs(student))
    assert [watch.taken() for watch in distiller.watched] == [[], []]


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
