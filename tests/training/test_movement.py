from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dsformer
from dsformer.errors import InputError
from dsformer.factorization.spec import FormSpec
from dsformer.huggingface.source import open_source
from dsformer.layers import BlockConfig
from dsformer.recipe import Recipe
from dsformer.training.blocks import LearnedBlocks
from dsformer.training.data import TrainingData
from dsformer.training.learners import LEARNERS, Stage
from dsformer.training.learners.movement import FROM, UNTIL, MovingBlock
from fixtures.forms import random_form
from fixtures.training import QUICK, projection_of

SPEC = FormSpec("input", 16, 12, atoms=0, nonzeros=3, canonical=True)
TOTAL = 40


@pytest.fixture
def stage() -> tuple[Any, MovingBlock, torch.Tensor]:
    """The learner of one small layer, its block, and the dense weight."""
    kind = LEARNERS["movement"]
    block = kind.block_type(BlockConfig.of("linear", [("0", 16)], SPEC), random_form(SPEC))
    blocks = LearnedBlocks(nn.Sequential(nn.Linear(12, 16)), [block])
    dense = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    learner = kind(Stage(blocks, [projection_of(block, dense)], TOTAL, TOTAL), None)
    learner.stage.optimizer = torch.optim.AdamW(learner.trained(block), lr=0.01, weight_decay=0.0)
    learner.start()
    return learner, block, dense


def test_all_weights_are_there_at_the_start_and_fewer_and_fewer_later(stage):
    learner, block, dense = stage
    assert torch.equal(block.unit_weight().detach(), dense)
    counts = []
    for step in range(1, TOTAL + 1):
        learner.stepped(step)
        counts.append(int(block.latent_mask.sum(1).unique()))
    assert counts == sorted(counts, reverse=True)
    assert all(count == 12 for step, count in enumerate(counts, 1) if step <= FROM * TOTAL)
    assert all(count == 3 for step, count in enumerate(counts, 1) if step >= UNTIL * TOTAL)
    assert len(set(counts)) >= 5


def test_weights_that_move_away_from_zero_stay(stage):
    learner, block, dense = stage
    grow = torch.zeros(16, 12, dtype=torch.bool)
    grow[:, 4:7] = True
    # A step against this gradient makes those larger and all others smaller.
    gradient = torch.where(grow, -dense.sign(), dense.sign())
    for step in range(1, TOTAL + 1):
        block.unit_weight().backward(gradient)
        learner.stage.optimizer.step()
        learner.stage.optimizer.zero_grad()
        learner.stepped(step)
    learner.finish()
    assert torch.equal(block.mask(), grow)
    assert torch.equal(block.form().dense(), block.unit_weight().detach())
    assert block.form().spec == SPEC


def test_scores_are_sums_of_gradient_times_weight_whatever_is_masked(stage):
    learner, block, dense = stage
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(2, 16, 12, generator=generator) * torch.logspace(-4, 0, 12)
    block.latent_mask[:, ::2] = False
    for gradient in gradients:
        block.unit_weight().backward(gradient)
    torch.testing.assert_close(block.scores, -gradients.sum(0) * dense)
    assert not block.latent.grad[:, ::2].any()
    assert [parameter is block.latent for parameter in learner.trained(block)] == [True]


def test_on_a_task(teacher: Path, task_file: Path, data: TrainingData, tmp_path: Path, factorized: Callable):
    learning = {"epochs": 16, "batch_size": 32, "learning_rate": 1e-3, "bf16": False, "examples": 256}
    training = {"train": "movement", "task": str(task_file), **learning}
    done = dsformer.compress(teacher, tmp_path / "out", **QUICK, method="magnitude", training=training)
    plain = dsformer.compress(teacher, tmp_path / "plain", **QUICK, method="magnitude")
    assert done.summary.training.trained > 80
    assert done.summary.bytes_after == plain.summary.bytes_after
    supports = [one.state_dict()["bert.encoder.layer.0.output.dense.support"] for one in (done.model, plain.model)]
    assert not torch.equal(*supports)
    batch = data.collate([data.features[0]])
    with torch.no_grad():
        assert torch.equal(dsformer.load(tmp_path / "out")(**batch).logits, done.model(**batch).logits)
    assert open_source(teacher).model.config.num_labels == 2


@pytest.mark.parametrize("fields", [{}, {"method": "magnitude", "pattern": "2:4"}, {"method": "oats"}])
def test_methods_with_more_than_weights_that_stay(fields: dict[str, str]):
    with pytest.raises(InputError, match="training: movement learns which weights stay: method one of pruning, magn"):
        Recipe().merged({**fields, "training": {"train": "movement", "task": "mrpc"}})
