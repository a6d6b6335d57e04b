"""Base class of learners, and the state of the training run that they work on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.training.optimizer_state import carry_optimizer_state
from dsformer.training.parametrization import LearnedBlock, LearnedBlocks
from dsformer.training.projection import Projection
from dsformer.utils.distributed import broadcast_from_first
from dsformer.utils.threads import single_threaded_pool


@dataclass
class Stage:
    """A training run as a learner sees it.

    Attributes:
        blocks: the blocks to train.
        projections: one for every block, in the same order; empty for a learner that does not project.
        total: optimizer steps of the whole run.
        epoch: optimizer steps of an epoch.
        optimizer: the torch optimizer, once it exists.
        weights: the dense weights, one row a unit, in the same order; empty for a learner without latent weights.
        untrained: these weights are of a model that has not been trained on the task.
    """

    blocks: LearnedBlocks
    projections: list[Projection]
    total: int
    epoch: int
    optimizer: torch.optim.Optimizer | None = None
    weights: list[Float[Tensor, "_units _width"]] = field(default_factory=list)
    untrained: bool = False


class Learner:
    """A way to train factors on a task. This one keeps supports and trains values and dictionaries.

    Subclasses override what happens at the start, after an optimizer step and at the end.

    Args:
        stage: the run.
        settings: of training.
    """

    block_type: type[LearnedBlock] = LearnedBlock
    projects = False
    """Whether it projects, and so needs the dense weights and the metrics of blocks, which are measured only then."""
    quantizes = True
    """Whether it reconstructs weights from values and dictionaries, which can be fake-quantized in the forward pass."""
    latent = False
    """Whether it has a latent code for every position. Where forms are nothing but entries of the weight, the latent
    codes are the dense weight, which may then be that of a model that has not been trained on the task."""
    prunes = False
    """Whether it prunes: forms must be entries of the weight and nothing else."""

    def __init__(self, stage: Stage, settings: Any):
        self.stage, self.settings = stage, settings

    def trained(self, block: nn.Module) -> list[nn.Parameter]:
        """Return the parameters of a block that are trained at any time in the run."""
        return [parameter for parameter in block.parameters() if parameter.requires_grad]

    def start(self) -> None:
        """Prepare the blocks before the first step; not called when a run is resumed."""

    def resume(self, step: int) -> None:
        """Attach what checkpoints do not hold, before the first step of every run, resumed after ``step`` or not."""

    def stepped(self, step: int) -> None:
        """Update blocks after optimizer step ``step``, counted from 1."""

    def finish(self) -> None:
        """Leave in every block the factorization to store, after the last step."""

    def over_blocks(self) -> Iterator[tuple[LearnedBlock, Projection]]:
        """Yield every block with its projection."""
        yield from zip(self.stage.blocks, self.stage.projections, strict=True)

    def project_all(self, jobs: list[partial[None]]) -> None:
        """Run projections in parallel, then carry the optimizer's state over to the new supports."""
        before = [block.columns.clone() for block in self.stage.blocks]
        with single_threaded_pool() as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()
        for block in self.stage.blocks:
            broadcast_from_first([block.columns, *[parameter.data for parameter in block.parameters()]])
            block.moved()
        self.stage.blocks.fix_support()
        if self.stage.optimizer is not None:
            for block, columns in zip(self.stage.blocks, before, strict=True):
                carry_optimizer_state(self.stage.optimizer, block, columns)
