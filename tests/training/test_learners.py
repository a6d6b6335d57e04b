import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import dsformer
from dsformer.format.pattern import Pattern
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.models.artefact import save
from dsformer.models.source import open_source
from dsformer.recipe import Recipe
from dsformer.training.conversion import NAME
from dsformer.training.data import TrainingData
from dsformer.training.learners import LEARNERS, Stage
from dsformer.training.loop import learn
from dsformer.training.parametrization import LearnedBlock, LearnedBlocks
from dsformer.training.teacher import Teacher
from fixtures.forms import random_form
from fixtures.training import projection_of

PATTERNS = ("free", "grouped(8)", "2:4", "banked(64)")
OF_FORMS = [name for name, kind in LEARNERS.items() if not kind.prunes]
# Learners that may choose other supports.
MOVING = ("refactor", "codes", "stf")
BYTES = {"F32": 4, "U8": 1, "I64": 8}
ONE_EPOCH = {"epochs": 1, "examples": 256, "batch_size": 32, "learning_rate": 1e-3, "bf16": False}


@dataclass
class Run:
    """A model that was factorized and one trained from it, every block's values and dictionary after each step, and the
    types its teacher computed in."""

    before: PreTrainedModel
    model: PreTrainedModel
    steps: list[list[tuple[Tensor, Tensor, Tensor]]] = field(default_factory=list)
    taught: set[torch.dtype] = field(default_factory=set)


@pytest.fixture
def trained(teacher: Path, task_file: Path, data: TrainingData, factorized: Callable, tmp_path: Path) -> Callable:
    def run(learner: str, pattern: str = "free", **fields: Any) -> Run:
        recipe = Recipe(training={"train": learner, "task": str(task_file), **ONE_EPOCH, **fields})
        source = open_source(teacher)
        made = Run(dsformer.load(factorized(pattern)), dsformer.load(factorized(pattern)))

        def follow(*_: object) -> None:
            held = made.model.get_submodule(NAME).held
            made.steps.append(
                [(b.values.detach().clone(), b.dictionary.detach().clone(), b.columns.clone()) for b in held]
            )

        last = source.model.get_submodule("bert.encoder.layer.0.output.dense")
        last.register_forward_hook(lambda _module, _args, output: made.taught.add(output.dtype))
        teaching, work = Teacher(source.model, source.tokenizer), tmp_path / f"work{len(list(tmp_path.iterdir()))}"
        learn(made.model, teaching, data, recipe.learning, work, True, follow)
        return made

    return run


def task_loss(model: PreTrainedModel, data: TrainingData) -> float:
    with torch.no_grad():
        batch = data.collate([data.features[i] for i in range(len(data.features))])
        return float(model(**batch).loss)


def supports(model: PreTrainedModel) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in model.state_dict().items() if key.endswith(("support", "permutation"))}


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], tensor) for key, tensor in second.items())


def stored(directory: Path) -> dict[str, Any]:
    """Type, shape and bytes of every tensor in a directory."""
    (file,) = directory.glob("*.safetensors")
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    del header["__metadata__"]
    return {name: (one["dtype"], one["shape"]) for name, one in header.items()}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("learner", OF_FORMS)
def test_the_loss_falls_and_the_form_stays(
    learner: str, pattern: str, trained: Callable, data: TrainingData, factorized: Callable, tmp_path: Path
):
    run = trained(learner, pattern, distill_weight=0.5, factor_rate=4.0)
    assert task_loss(run.model, data) < 0.9 * task_loss(run.before, data)
    saved = save(run.model, tmp_path / "out")
    before, after = stored(factorized(pattern)), stored(saved)
    if pattern == "banked(64)":
        # Values make room for supports, and the other way round.
        sizes = [sum(prod(shape) * BYTES[kind] for kind, shape in one.values()) for one in (before, after)]
        assert 0.97 * sizes[0] < sizes[1] <= sizes[0]
    else:
        assert after == before
    loaded, batch = dsformer.load(saved), data.collate([data.features[0]])
    assert_same_state(loaded, run.model)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, run.model(**batch).logits, rtol=1e-6, atol=1e-6)
    old, new = supports(run.before), supports(run.model)
    same = all(torch.equal(new[key], tensor) for key, tensor in old.items() if new[key].shape == tensor.shape)
    same &= all(new[key].shape == tensor.shape for key, tensor in old.items())
    assert same == (learner not in MOVING)
    for key, tensor in old.items():
        assert key.endswith("support") or torch.equal(new[key], tensor)
    assert not run.model.training
    assert all(parameter.requires_grad for parameter in run.model.parameters())


def test_supports_stay_when_they_are_fixed(trained: Callable):
    run = trained("fixed")
    for step in run.steps[1:]:
        for (_, _, columns), (_, _, first) in zip(step, run.steps[0], strict=True):
            assert torch.equal(columns, first)


def test_values_and_dictionaries_take_turns(trained: Callable):
    run = trained("alternate", epochs=2, warmup=0)
    epoch = (len(run.steps) - 1) // 2
    length = max(1, epoch // 8)
    turns = []
    for step, (before, after) in enumerate(zip(run.steps, run.steps[1:], strict=False)):
        moved = [
            [not torch.equal(new, old) for new, old in zip(one[:2], other[:2], strict=True)]
            for one, other in zip(after, before, strict=True)
        ]
        assert all(one == [step // length % 2 == 0, step // length % 2 == 1] for one in moved), step
        turns.append(moved[0])
    assert [True, False] in turns
    assert [False, True] in turns


def test_dense_weights_are_factorized_once_an_epoch(trained: Callable):
    run = trained("refactor", epochs=2)
    epoch = (len(run.steps) - 1) // 2
    for step, (before, after) in enumerate(zip(run.steps, run.steps[1:], strict=False), 1):
        moved = any(not torch.equal(one[0], other[0]) for one, other in zip(after, before, strict=True))
        assert moved == (step % epoch == 0), step


def test_nonzeros_fall_to_those_of_the_form(trained: Callable):
    run = trained("stf", ramp=1.5, ramp_until=0.5)
    kept = [step[0][0].shape[1] for step in run.steps]
    final = run.model.get_submodule("bert.encoder.layer.0.attention.self.query").values.shape[1]
    assert kept[0] > final
    assert kept == sorted(kept, reverse=True)
    half = len(run.steps) // 2
    assert set(kept[half:]) == {final}
    for step in run.steps[half:]:
        for (_, _, columns), (_, _, last) in zip(step, run.steps[-1], strict=True):
            assert torch.equal(columns, last)


def test_bf16_is_for_training_alone(trained: Callable, data: TrainingData, tmp_path: Path):
    run = trained("fixed", bf16=True)
    assert task_loss(run.model, data) < 0.9 * task_loss(run.before, data)
    assert task_loss(run.model, data) == pytest.approx(task_loss(dsformer.load(save(run.model, tmp_path / "o")), data))
    full = trained("fixed")
    assert (run.taught, full.taught) == ({torch.bfloat16}, {torch.float32})
    assert task_loss(run.model, data) == pytest.approx(task_loss(full.model, data), rel=0.05)


@pytest.mark.parametrize("learner", ["fixed", "codes", "stf"])
def test_pruned_models_without_any_dictionary(
    learner: str, teacher: Path, task_file: Path, data: TrainingData, tmp_path: Path
):
    quick = {"ratio": 2.0, "effort": {"iterations": 2, "screening": 1}, "allocation": "uniform"}
    training = {"train": learner, "task": str(task_file), **ONE_EPOCH}
    done = dsformer.compress(teacher, tmp_path / "out", method="pruning", training=training, **quick)
    assert all(block.atoms == 0 for block in done.summary.blocks)
    assert done.summary.training is not None
    assert done.summary.training.trained >= 90


SPEC = FormSpec("input", 16, 12, atoms=8, nonzeros=3, pattern=Pattern(group=4), permuted=True)


def stage_of(learner: str, **settings: Any) -> tuple[Any, LearnedBlock]:
    """A learner of one small layer, with an optimizer."""
    kind = LEARNERS[learner]
    model = nn.Sequential(nn.Linear(12, 16))
    block = kind.block_type(BlockConfig.of("linear", [("0", 16)], SPEC), random_form(SPEC))
    blocks = LearnedBlocks(model, [block])
    fields = {
        "ramp": 2.0,
        "ramp_until": 0.5,
        "projections": 4,
        "pursuit_steps": 2,
        "latent_rate": 0.0,
        "accumulate": 1,
        **settings,
    }
    stage = Stage(blocks, [projection_of(block)], total=16, epoch=8)
    made = kind(stage, SimpleNamespace(**fields))
    stage.optimizer = torch.optim.AdamW(made.trained(block), lr=0.05)
    return made, block


@pytest.mark.parametrize("learner", OF_FORMS)
def test_groups_and_specs_survive_any_gradients(learner: str):
    made, block = stage_of(learner, latent_rate=0.01)
    generator = torch.Generator().manual_seed(3)
    made.start()
    made.resume(0)
    for step in range(1, 17):
        (block.unit_weight() * torch.randn(16, 12, generator=generator)).sum().backward()
        made.stage.optimizer.step()
        made.stage.optimizer.zero_grad()
        made.stepped(step)
    made.finish()
    form = block.form()
    assert form.spec == SPEC
    assert torch.equal(form.permutation, random_form(SPEC).permutation)
    torch.testing.assert_close(form.dense(), block.unit_weight().detach(), rtol=1e-5, atol=1e-5)


def test_the_residual_pulls_the_weight_where_gradients_ask():
    """Without a step of the factors, the projection alone must follow the straight-through gradient."""
    made, block = stage_of("stf", latent_rate=0.05, ramp=1.0)
    made.start()
    made.resume(0)
    wanted = torch.randn(16, 12, generator=torch.Generator().manual_seed(3))
    before = float((block.unit_weight().detach() - wanted).square().sum())
    for step in range(1, 9):
        (block.unit_weight() - wanted).square().sum().backward()
        made.stepped(step)
    assert block.watcher is None
    assert float((block.unit_weight().detach() - wanted).square().sum()) < 0.95 * before
    assert not block.get_buffer("residual").any()


def test_latent_codes_come_back_when_gradients_ask():
    made, block = stage_of("codes")
    before = block.mask()
    assert torch.equal(block.latent_mask, before)
    for step in range(1, 13):
        (-(~before * block.latent)).sum().backward()
        made.stage.optimizer.step()
        made.stage.optimizer.zero_grad()
        made.stepped(step)
    made.finish()
    assert not torch.equal(block.mask(), before)
    assert torch.equal(block.mask(), block.latent_mask)
    weight = (block.latent * block.latent_mask).detach() @ block.dictionary.detach()
    torch.testing.assert_close(block.form().dense(), weight, rtol=1e-5, atol=1e-5)
