"""Trainings that run into NaN stop with the step, and keep what they had before."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dsformer
from dsformer.errors import InputError
from dsformer.training.divergence import what_diverged
from dsformer.training.trainer import FactorizationTrainer
from fixtures.training import QUICK

LEARNING = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "bf16": False, "save_steps": 4}


def test_what_is_not_finite_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert what_diverged(torch.tensor(1.0), model) is None
    assert what_diverged(None, model) is None
    assert what_diverged(torch.tensor(math.inf), model) == "the loss"
    for value in (math.nan, -math.inf):
        with torch.no_grad():
            model[1].bias[1] = value
        assert what_diverged(torch.tensor(1.0), model) == "1.bias"
    model[1].requires_grad_(False)
    assert what_diverged(None, model) is None


def poisoned(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Let the loss become this in a step."""
    compute = FactorizationTrainer.compute_loss

    def compute_loss(self: Any, *arguments: Any, **words: Any) -> torch.Tensor:
        loss = compute(self, *arguments, **words)
        if self.state.global_step + 1 == step:
            self.loss_of_step = self.loss_of_step * value
            return loss * value
        return loss

    monkeypatch.setattr(FactorizationTrainer, "compute_loss", compute_loss)


@pytest.mark.parametrize(("step", "value", "good"), [(10, math.nan, 8), (8, math.inf, 4), (12, math.nan, 8)])
def test_a_dense_model(
    step: int, value: float, good: int, base: Path, task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also in the step of a checkpoint, and in the last one."""
    words = {"task": str(task_file), **LEARNING}
    with monkeypatch.context() as patch:
        poisoned(patch, step, value)
        with pytest.raises(InputError) as error:
            dsformer.finetune(base, tmp_path / "out", **words)
    work = tmp_path / "out.work"
    assert str(error.value) == (
        f"finetune: diverged in step {step} of 12 (the loss is NaN or infinite); give a lower learning_rate than "
        f"0.001; the last good checkpoint is {work / f'checkpoint-{good}'}"
    )
    assert not (tmp_path / "out").exists()
    steps: list[int] = []
    done = dsformer.finetune(base, tmp_path / "out", **words, progress=lambda _, done, __: steps.append(done))
    assert steps[0] == good
    assert all(bool(torch.isfinite(p).all()) for p in done.model.parameters())


def test_factorizations(teacher: Path, task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    training = {"train": "stf", "task": str(task_file), "distill": "none", **LEARNING}
    poisoned(monkeypatch, 6, math.nan)
    with pytest.raises(InputError, match=r"^train: diverged in step 6 of 12 .*out\.work/training/checkpoint-4$"):
        dsformer.compress(teacher, tmp_path / "out", **QUICK, training=training)
    assert not (tmp_path / "out").exists()


def test_a_rate_that_is_far_too_high(base: Path, task_file: Path, tmp_path: Path):
    words = {"task": str(task_file), **LEARNING, "learning_rate": 1e30, "save_steps": None}
    with pytest.raises(InputError, match=r"^finetune: diverged in step \d+ of 12 .*there is no checkpoint yet$"):
        dsformer.finetune(base, tmp_path / "out", **words)
    assert list(tmp_path.iterdir()) == []


def test_in_one_line_on_the_command_line(base: Path, task_file: Path, tmp_path: Path, capsys: Callable):
    from dsformer.cli.main import app

    words = ["finetune", str(base), "-o", str(tmp_path / "out"), "--task", str(task_file), "--learning-rate", "1e30"]
    with pytest.raises(SystemExit) as exit_:
        app([*words, "--epochs", "1", "--no-bf16", "--quiet"], prog_name="dsformer")
    found = capsys.readouterr()
    [error] = [line for line in found.err.splitlines() if not line.startswith("note: ")]
    assert (exit_.value.code, found.out) == (2, "")
    assert error.startswith("error: finetune: diverged in step ")
