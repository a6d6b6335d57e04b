"""What every way of learning the factorizations has in common."""

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
    """Where a training run stands, and what a learner works on.

    Attributes:
        blocks: the blocks learned.
        projections: one for every block, in the same order; none for a learner that does not project.
        total: optimizer steps of the whole run.
        epoch: optimizer steps of an epoch.
        optimizer: the torch optimizer, once there is one.
        weights: the dense ones, one row a unit, in the same order; none for a learner that has no latent weights.
        untrained: whether these are of a model that has not learned the task yet.
    """

    blocks: LearnedBlocks
    projections: list[Projection]
    total: int
    epoch: int
    optimizer: torch.optim.Optimizer | None = None
    weights: list[Float[Tensor, "_units _width"]] = field(default_factory=list)
    untrained: bool = False


class Learner:
    """A way to learn factorizations on a task. The plain one: supports stay, values and dictionaries are trained.

    Subclasses override what happens at the start, after an optimizer step and at the end.
    """

    block_type: type[LearnedBlock] = LearnedBlock
    projects = False
    """Whether it needs the dense weights and the metric to project in, which is measured only then."""
    quantizes = True
    """Whether it computes weights from values and dictionaries, which can be rounded on the way."""
    latent = False
    """Whether it has a latent code for every position: the dense weight, where forms are entries of it alone. Such
    learners can begin with the weights of a model that has not learned the task yet."""
    prunes = False
    """Whether forms must be entries of the weight and nothing else."""

    def __init__(self, stage: Stage, settings: Any):
        self.stage, self.settings = stage, settings

    def trained(self, block: nn.Module) -> list[nn.Parameter]:
        """The parameters of a block that are trained, at some time or other."""
        return [parameter for parameter in block.parameters() if parameter.requires_grad]

    def start(self) -> None:
        """Before the first step; not called when a run is resumed."""

    def resume(self, step: int) -> None:
        """Before the first step of every run, resumed after ``step`` or not: attach what checkpoints do not hold."""

    def stepped(self, step: int) -> None:
        """After optimizer step ``step``, counted from 1."""

    def finish(self) -> None:
        """After the last step: every block must hold the factorization to be stored."""

    def over_blocks(self) -> Iterator[tuple[LearnedBlock, Projection]]:
        yield from zip(self.stage.blocks, self.stage.projections, strict=True)

    def project_all(self, jobs: list[partial[None]]) -> None:
        """Run projections side by side, then carry the optimizer's memory over to the new supports."""
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
