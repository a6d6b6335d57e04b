import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

import dsformer
from dsformer.data.supervised import load_task
from dsformer.errors import InputError
from dsformer.factorization.support import choose_support
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.models.heads import open_for_task
from dsformer.models.source import open_source
from dsformer.recipe import Recipe
from dsformer.training.data import TrainingData
from dsformer.training.learners import LEARNERS, Stage
from dsformer.training.learners.movement import FROM, SENSITIVITY, UNCERTAINTY, UNTIL, MovingBlock
from dsformer.training.loop import make_trainer
from dsformer.training.parametrization import LearnedBlocks
from dsformer.training.projection import orient
from dsformer.training.teacher import Teacher
from fixtures.forms import random_form
from fixtures.training import QUICK, write_base

SPEC = FormSpec("input", 16, 12, atoms=0, nonzeros=3, canonical=True)
TOTAL = 40


@pytest.fixture
def stage() -> tuple[Any, MovingBlock, torch.Tensor]:
    """The learner of one small layer, its block, and the dense weight."""
    kind = LEARNERS["movement"]
    block = kind.block_type(BlockConfig.of("linear", [("0", 16)], SPEC), random_form(SPEC))
    blocks = LearnedBlocks(nn.Sequential(nn.Linear(12, 16)), [block])
    dense = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    learner = kind(Stage(blocks, [], TOTAL, TOTAL, weights=[dense]), None)
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


def test_sensitive_and_uncertain_weights_stay():
    """PLATON's scores, by the book: running means of |gradient x weight| and of how far it is from that mean."""
    kind = LEARNERS["platon"]
    block = kind.block_type(BlockConfig.of("linear", [("0", 16)], SPEC), random_form(SPEC))
    blocks = LearnedBlocks(nn.Sequential(nn.Linear(12, 16)), [block])
    dense = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    learner = kind(Stage(blocks, [], TOTAL, TOTAL, weights=[dense]), None)
    learner.start()
    gradients = torch.randn(TOTAL, 16, 12, generator=torch.Generator().manual_seed(1)) * torch.logspace(-2, 0, 12)
    mean = uncertainty = torch.zeros(16, 12)
    for step, gradient in enumerate(gradients, 1):
        block.unit_weight().backward(gradient)
        learner.stepped(step)
        size = (gradient * dense).abs()
        mean = SENSITIVITY * mean + (1 - SENSITIVITY) * size
        uncertainty = UNCERTAINTY * uncertainty + (1 - UNCERTAINTY) * (size - mean).abs()
        torch.testing.assert_close(block.scores, mean * uncertainty)
        if step == UNTIL * TOTAL:
            assert torch.equal(block.latent_mask, choose_support(SPEC, mean * uncertainty, None))
    learner.finish()
    assert block.form().spec == SPEC


@pytest.mark.parametrize(
    ("method", "learner"), [("magnitude", "movement"), ("pruning", "movement"), ("pruning", "platon")]
)
def test_on_a_task(teacher: Path, task_file: Path, data: TrainingData, tmp_path: Path, method: str, learner: str):
    learning = {"epochs": 16, "batch_size": 32, "learning_rate": 1e-3, "bf16": False, "examples": 256}
    training = {"train": learner, "task": str(task_file), **learning}
    done = dsformer.compress(teacher, tmp_path / "out", **QUICK, method=method, training=training)
    plain = dsformer.compress(teacher, tmp_path / "plain", **QUICK, method=method)
    assert done.summary.training.trained > 80
    assert done.summary.bytes_after == plain.summary.bytes_after
    supports = [one.state_dict()["bert.encoder.layer.0.output.dense.support"] for one in (done.model, plain.model)]
    assert not torch.equal(*supports)
    batch = data.collate([data.features[0]])
    with torch.no_grad():
        assert torch.equal(dsformer.load(tmp_path / "out")(**batch).logits, done.model(**batch).logits)
    assert open_source(teacher).model.config.num_labels == 2


@pytest.fixture
def of_start(
    base: Path, teacher: Path, task_file: Path, data: TrainingData
) -> Callable[[str, str], tuple[Any, PreTrainedModel]]:
    """A trainer that has not made a step, whose model has not learned the task, and that model dense."""

    def make(learner: str, pattern: str) -> tuple[Any, PreTrainedModel]:
        recipe = Recipe().merged(
            {
                **QUICK,
                "ratio": 1.8,
                "method": "magnitude",
                "pattern": pattern,
                "training": {"train": learner, "task": str(task_file), "bf16": False},
            }
        )
        start, _ = open_for_task(base, load_task(str(task_file)))
        model = dsformer.compress(teacher, recipe=recipe.merged({"training": {"train": "none"}})).model
        source = open_source(teacher)
        teaching = Teacher(source.model, source.tokenizer, untrained=start)
        with tempfile.TemporaryDirectory() as work:
            return make_trainer(model, teaching, data, recipe.learning, Path(work), True), start

    return make


@pytest.mark.parametrize(("learner", "pattern"), [("movement", "free"), ("codes", "2:4")])
def test_weights_that_stay_are_learned_along_with_the_task(learner: str, pattern: str, of_start: Callable):
    trainer, start = of_start(learner, pattern)
    trainer.learner.start()
    own = dict(trainer.model.named_parameters())
    for name, values in start.named_parameters():
        assert name not in own or torch.equal(own[name], values), name
    for block in trainer.learner.stage.blocks:
        dense = torch.cat([start.get_submodule(name).weight for name in block.config.names])
        assert torch.equal(block.latent, orient(dense, block.spec))
        kept = block.unit_weight()
        assert torch.equal(kept, block.latent * block.latent_mask)
        assert float(block.latent_mask.float().mean()) == (1.0 if learner == "movement" else 0.5)
        if learner == "codes":
            assert (block.latent.abs() * block.latent_mask).sum() > 0.7 * block.latent.abs().sum()
    rates = {id(p): group["lr"] for group in trainer.create_optimizer().param_groups for p in group["params"]}
    assert rates[id(own["classifier.weight"])] == 5 * rates[id(own["bert.pooler.dense.bias"])]


def test_codes_of_pruned_weights_begin_with_all_of_the_weight(
    teacher: Path, task_file: Path, data: TrainingData, tmp_path: Path
):
    training = {"train": "codes", "task": str(task_file)}
    recipe = Recipe().merged({**QUICK, "ratio": 1.8, "method": "magnitude", "pattern": "2:4", "training": training})
    model, source = (
        dsformer.compress(teacher, recipe=recipe.merged({"training": {"train": "none"}})).model,
        open_source(teacher),
    )
    before = model.get_submodule("bert.encoder.layer.1.output.dense").densified().weight.detach().clone()
    trainer = make_trainer(model, Teacher(source.model, source.tokenizer), data, recipe.learning, tmp_path, True)
    trainer.learner.start()
    block = next(b for b in trainer.learner.stage.blocks if "bert.encoder.layer.1.output.dense" in b.config.names)
    dense = source.model.get_submodule("bert.encoder.layer.1.output.dense").weight
    torch.testing.assert_close(block.latent, orient(dense, block.spec))
    torch.testing.assert_close(block.unit_weight(), orient(before, block.spec))


def test_a_base_model_is_pruned_while_it_learns(base: Path, task_file: Path, tmp_path: Path):
    learning = {"epochs": 8, "batch_size": 32, "learning_rate": 1e-3, "bf16": False, "train_embeddings": True}
    training = {"train": "movement", "task": str(task_file), **learning}
    done = dsformer.compress(base, tmp_path / "out", **QUICK, method="magnitude", training=training)
    dsformer.finetune(base, tmp_path / "dense", task=str(task_file), **learning)
    training["start"] = str(base)
    other = dsformer.compress(tmp_path / "dense", tmp_path / "other", **QUICK, method="magnitude", training=training)
    assert done.summary.training.trained > 80
    first, second = done.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(values, second[name]) for name, values in first.items())


def test_another_model_is_no_start(sentence_encoder: Path, teacher: Path, task_file: Path, tmp_path: Path):
    other = write_base(tmp_path / "base")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    training = {"train": "movement", "task": str(task_file), "start": str(other), "epochs": 1, "bf16": False}
    with pytest.raises(InputError, match=r"training.start: .*base is not the model that .* was before it learned"):
        dsformer.compress(teacher, tmp_path / "out", **QUICK, method="magnitude", training=training)
    assert not list(tmp_path.glob("out*"))
    grouped = {"method": "pruning", "pattern": "grouped(4)"}
    for fields, learner in (({"method": "magnitude"}, "fixed"), ({}, "codes"), (grouped, "codes")):
        training = {"train": learner, "task": "mrpc", "start": "x"}
        with pytest.raises(
            InputError, match="training: start goes with train codes or movement or platon and a method that"
        ):
            Recipe().merged({**fields, "training": training})


@pytest.mark.parametrize("fields", [{}, {"method": "magnitude", "pattern": "2:4"}, {"method": "oats"}])
def test_methods_with_more_than_weights_that_stay(fields: dict[str, str]):
    with pytest.raises(InputError, match="training: movement learns which weights stay: method one of pruning, magn"):
        Recipe().merged({**fields, "training": {"train": "movement", "task": "mrpc"}})
