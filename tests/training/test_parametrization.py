from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from dsformer.format.indices import sort_entries
from dsformer.format.pattern import Pattern
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.training.learners.projected_gradient import DenseBlock
from dsformer.training.learners.sr_ste import DenseCodesBlock
from dsformer.training.parametrization import LearnedBlock, LearnedBlocks
from fixtures.forms import all_specs, gradients, label, random_form
from fixtures.training import learned_block

FREE = FormSpec("input", 16, 12, atoms=8, core=2, nonzeros=3, canonical=True)
KINDS = (LearnedBlock, DenseBlock, DenseCodesBlock)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", all_specs(), ids=label)
def test_a_form_comes_back(spec: FormSpec, kind: type[LearnedBlock]):
    before = random_form(spec)
    before = sort_entries(before, [spec.units]) if spec.pattern.bank else before
    block = learned_block(spec, kind=kind)
    after = block.form()
    assert after.spec == before.spec
    torch.testing.assert_close(after.dense(), before.dense(), rtol=1e-5, atol=1e-5)
    assert torch.equal(after.indices, before.indices)
    assert (after.permutation is None) == (before.permutation is None)
    assert before.permutation is None or torch.equal(after.permutation, before.permutation)
    weight = block.unit_weight() if spec.orientation == "input" else block.unit_weight().T
    torch.testing.assert_close(weight, before.dense(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(block.dictionary.norm(dim=1), torch.ones(spec.atoms))


@pytest.mark.parametrize("pattern", [Pattern(), Pattern(group=4), Pattern(n=2, m=4)], ids=str)
@pytest.mark.parametrize("permuted", [False, True])
def test_stacked_members_come_back(pattern: Pattern, permuted: bool):
    members = (8, 16, 8)
    spec = FormSpec("input", 32, 12, atoms=8, nonzeros=4, pattern=pattern, permuted=permuted)
    before = random_form(spec, members=members)
    after = learned_block(spec, members).form()
    torch.testing.assert_close(after.dense(), before.dense(), rtol=1e-5, atol=1e-5)
    for one, other in zip(after.split(members), before.split(members), strict=True):
        torch.testing.assert_close(one.dense(), other.dense(), rtol=1e-5, atol=1e-5)


def test_mask_and_codes_agree_with_the_form():
    block = learned_block(replace(FREE, permuted=True, pattern=Pattern(group=4)))
    form = block.form()
    assert torch.equal(block.codes(), form.codes())
    assert torch.equal(block.mask(), form.codes() != 0)


def test_take_other_codes_on_more_positions():
    block = learned_block(FREE)
    parameter = block.values
    block.unit_weight().sum().backward()
    wider = random_form(replace(FREE, nonzeros=6), seed=5)
    codes = wider.codes()
    block.take(codes, codes != 0, wider.dictionary)
    assert block.values is parameter
    assert block.values.shape == (16, 8)
    assert block.values.grad is None
    torch.testing.assert_close(block.unit_weight(), wider.dense())
    block.unit_weight().sum().backward()
    torch.testing.assert_close(block.values.grad, gradients(block.form(), torch.eye(12))[0])


def test_a_checkpoint_with_another_number_of_nonzeros_loads():
    block, wider = learned_block(FREE), learned_block(replace(FREE, nonzeros=6), seed=5)
    expected = wider.unit_weight()
    assert not torch.allclose(block.unit_weight(), expected)
    parameter = block.values
    block.load_state_dict(wider.state_dict())
    assert block.values is parameter
    assert torch.equal(block.unit_weight(), expected)
    block.unit_weight().sum().backward()
    torch.testing.assert_close(block.values.grad, gradients(block.form(), torch.eye(12))[0])


def test_a_checkpoint_with_another_support_of_the_same_size_loads():
    block, other = learned_block(FREE), learned_block(FREE, seed=5)
    block.unit_weight()
    block.load_state_dict(other.state_dict())
    assert torch.equal(block.unit_weight(), other.unit_weight())


def test_the_watcher_sees_the_gradient_of_the_weight():
    block, seen = learned_block(FREE), []
    block.watcher = seen.append
    outer = torch.randn(16, 12)
    (block.unit_weight() * outer).sum().backward()
    assert torch.equal(seen[0], outer)
    with torch.no_grad():
        block.unit_weight()
    assert len(seen) == 1


def test_the_weight_is_made_in_the_type_of_autocast():
    block = learned_block(FREE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert block.unit_weight().dtype == torch.bfloat16
    assert block.unit_weight().dtype == torch.float32


class Layers(nn.Module):
    """Two linears that read one input, and a Conv1D."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(12, 8), nn.Linear(12, 16), Conv1D(12, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.cat([self.first(x), self.second(x)], -1))


def attached() -> tuple[Layers, LearnedBlocks]:
    model = Layers()
    pair = FormSpec("input", 24, 12, atoms=8, nonzeros=4)
    conv = FormSpec("output", 12, 24, atoms=8, nonzeros=4, canonical=True)
    configs = [
        BlockConfig.of("linear", [("first", 8), ("second", 16)], pair),
        BlockConfig.of("conv1d", [("third", 12)], conv),
    ]
    specs = (pair, conv)
    blocks = [LearnedBlock(config, random_form(spec)) for config, spec in zip(configs, specs, strict=True)]
    return model, LearnedBlocks(model, blocks)


def test_weights_follow_the_values_and_gradients_reach_them():
    model, learned = attached()
    x = torch.randn(3, 12)
    assert "first.weight" not in dict(model.named_parameters())
    pair, conv = (block.form().dense() for block in learned)
    middle = torch.cat([x @ pair[:8].T + model.first.bias, x @ pair[8:].T + model.second.bias], -1)
    torch.testing.assert_close(model(x), middle @ conv.T + model.third.bias)
    model(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in learned.parameters())
    before = model(x)
    with torch.no_grad():
        next(iter(learned)).values.mul_(2)
    assert not torch.allclose(model(x), before)


def test_detach_leaves_plain_layers_with_the_last_weights():
    model, learned = attached()
    with torch.no_grad():
        next(iter(learned)).values.mul_(2)
    x = torch.randn(3, 12)
    expected = model(x).detach()
    learned.detach()
    weights = {name for name, _ in model.named_parameters() if name.endswith("weight")}
    assert weights == {"first.weight", "second.weight", "third.weight"}
    assert torch.equal(model(x), expected)
    with torch.no_grad():
        next(iter(learned)).values.zero_()
    assert torch.equal(model(x), expected)
