from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import dsformer
from dsformer.errors import InputError
from dsformer.format.pattern import Pattern
from dsformer.format.precision import INT8, Precision
from dsformer.format.quantized import quantize_form
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.recipe import Recipe
from dsformer.training.parametrization import LearnedBlock
from dsformer.training.projection import orient
from dsformer.training.qat import fake_quantize
from fixtures.forms import random_form
from fixtures.training import QUICK

SPECS = [
    FormSpec("input", 16, 12, atoms=8, core=2, nonzeros=3),
    FormSpec("input", 16, 12, atoms=6, nonzeros=4, canonical=True),
    FormSpec("input", 16, 12, atoms=0, nonzeros=5, canonical=True),
    FormSpec("input", 16, 12, atoms=8, nonzeros=3, pattern=Pattern(group=4), permuted=True),
    FormSpec("output", 12, 16, atoms=8, core=1, nonzeros=3),
    FormSpec("output", 12, 16, atoms=6, nonzeros=4, canonical=True, permuted=True),
    FormSpec("input", 16, 12, atoms=5, core=5),
]
PRECISIONS = [INT8, Precision(4, 4), Precision(4, 8), Precision(3, 3, 8)]


def block_of(spec: FormSpec) -> LearnedBlock:
    return LearnedBlock(BlockConfig.of("linear", [("0", spec.out_features)], spec), random_form(spec))


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_weight_is_that_of_the_rounded_form(spec: FormSpec, precision: Precision):
    block = block_of(spec)
    plain = block.unit_weight().detach()
    block.round_to(precision)
    weight = block.unit_weight().detach()
    expected = orient(quantize_form(block.form(), precision).form().dense(), spec)
    torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(weight, plain, atol=1e-4)


def test_gradients_pass_straight_through():
    block = block_of(SPECS[0])
    block.round_to(Precision(4, 4))
    values, dictionary = (one.detach().clone().requires_grad_() for one in block.factors())
    other = block_of(SPECS[0])
    other.values.data, other.dictionary.data = values.data, dictionary.data
    wanted = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    for one in (block, other):
        (one.unit_weight() * wanted).sum().backward()
    torch.testing.assert_close(block.values.grad, other.values.grad)
    torch.testing.assert_close(block.dictionary.grad, other.dictionary.grad)


def test_numbers_beyond_the_range_are_clipped():
    numbers = torch.tensor([[0.24, -0.26, 5.0, -5.0, 1.0]])
    steps = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.0]])
    assert fake_quantize(numbers, steps, 4).tolist() == [[0.0, -0.5, 3.5, -4.0, 0.0]]


def test_a_checkpoint_has_the_steps():
    block, other = block_of(SPECS[1]), block_of(SPECS[1])
    block.round_to(INT8)
    with torch.no_grad():
        block.values *= 3
    other.round_to(INT8)
    other.load_state_dict(block.state_dict())
    assert torch.equal(other.value_steps, block.value_steps)
    assert torch.equal(other.unit_weight(), block.unit_weight())
    before = block.value_steps.clone()
    block.look_again()
    torch.testing.assert_close(block.value_steps, 3 * before, rtol=0.02, atol=0)


@pytest.mark.parametrize("learner", ["fixed", "stf"])
def test_on_a_task(learner: str, teacher: Path, task_file: Path, tmp_path: Path):
    learning = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-3, "bf16": False, "examples": 256}
    training = {"train": learner, "task": str(task_file), "rounding_aware": True, **learning}
    done = dsformer.compress(teacher, tmp_path / "out", **QUICK, factors="int4", training=training)
    assert done.summary.training.trained > 80
    loaded = dsformer.load(tmp_path / "out")
    given = AutoTokenizer.from_pretrained(teacher)("the film was great", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, done.model.eval()(**given).logits)
    assert all(block.precision == Precision(4, 4) for block in loaded.config.quantization_config.blocks)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"training": {"train": "fixed", "task": "mrpc", "rounding_aware": True}}, "needs int8 or int4 factors"),
        ({"factors": "int8", "training": {"rounding_aware": True}}, "and something to train on"),
        (
            {"factors": "int8", "training": {"train": "codes", "task": "mrpc", "rounding_aware": True}},
            "goes with fixed, alternate, stf, not codes",
        ),
    ],
)
def test_recipes_that_make_no_sense(fields: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Recipe().merged(fields)
