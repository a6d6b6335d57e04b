import pytest
import torch

from dsformer.format.spec import FormSpec
from dsformer.training.optimizer_state import carry_optimizer_state
from dsformer.training.parametrization import LearnedBlock
from fixtures.training import learned_block

SPEC = FormSpec("input", 6, 10, atoms=8, core=1, nonzeros=3)


def trained() -> tuple[LearnedBlock, torch.optim.AdamW]:
    block = learned_block(SPEC)
    optimizer = torch.optim.AdamW(block.parameters(), lr=0.01)
    for seed in range(3):
        outer = torch.randn(6, 10, generator=torch.Generator().manual_seed(seed))
        (block.unit_weight() * outer).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return block, optimizer


def dense(block: LearnedBlock, values: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return torch.zeros(6, 8).scatter_(1, columns.long(), values)


@pytest.mark.parametrize("nonzeros", [2, 3, 6])
def test_what_stays_keeps_its_moments_and_what_is_new_gets_the_mean(nonzeros: int):
    block, optimizer = trained()
    before = block.columns.clone()
    state = {name: moment.clone() for name, moment in optimizer.state[block.values].items()}
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[:, 0] = True
    draws = torch.rand(6, 7, generator=torch.Generator().manual_seed(4))
    mask[:, 1:].scatter_(1, draws.topk(nonzeros, 1).indices, True)
    old = torch.zeros_like(mask).scatter_(1, before.long(), True)
    assert bool((mask & old)[:, 1:].any())
    assert bool((mask & ~old).any())
    block.take(torch.ones(6, 8), mask, block.dictionary.detach())
    carry_optimizer_state(optimizer, block, before)
    now = optimizer.state[block.values]
    assert now["exp_avg"].shape == now["exp_avg_sq"].shape == block.values.shape
    assert now["step"] == state["step"]
    first, second = (dense(block, now[name], block.columns) for name in ("exp_avg", "exp_avg_sq"))
    kept, new = mask & old, mask & ~old
    assert torch.equal(first[kept], dense(block, state["exp_avg"], before)[kept])
    assert torch.equal(second[kept], dense(block, state["exp_avg_sq"], before)[kept])
    assert not first[new].any()
    assert torch.equal(second[new], state["exp_avg_sq"].mean(1, keepdim=True).expand(6, 8)[new])
    (block.unit_weight()).sum().backward()
    optimizer.step()


def test_an_unchanged_support_changes_nothing():
    block, optimizer = trained()
    state = {name: moment.clone() for name, moment in optimizer.state[block.values].items()}
    carry_optimizer_state(optimizer, block, block.columns.clone())
    for name, moment in optimizer.state[block.values].items():
        assert torch.equal(moment, state[name])


def test_before_the_first_step_there_is_nothing_to_carry():
    block = learned_block(SPEC)
    optimizer = torch.optim.AdamW(block.parameters())
    carry_optimizer_state(optimizer, block, block.columns.clone())
    assert block.values not in optimizer.state
