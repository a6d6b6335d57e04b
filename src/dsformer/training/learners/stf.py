"""STF, the straight-through factorizer: latent dense weights, projected to factorizations every few steps.

Every block has latent dense weights, held as the present factorization plus a residual: the part of the weight's
updates that the factorization could not follow. The forward pass uses the factorization. At each step its values and
dictionary take an Adam step. The residual takes the straight-through gradient of the weight, scaled by its size over
the whole block: no second moment of single weights is kept for noise to mislead (STEP, arXiv 2302.01172). Every few
steps the latent weights are projected in the whitened metric, warm from the present factorization. The residual is then
reset to zero, which pulls the latent weights all the way to their factorization. The number of non-zeros falls from a
gentle start to its final value on a cubic schedule (Zhu and Gupta, arXiv 1710.01878). After that supports stay and only
the factors are trained.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.format.spec import FormSpec
from dsformer.training.learners.base import Learner, Stage
from dsformer.training.parametrization import LearnedBlock
from dsformer.training.projection import Projection
from dsformer.utils.distributed import average_over_ranks

# Pursuit steps of the first projection, to the larger number of non-zeros at the start.
START_STEPS = 6


class StraightThroughFactorizer(Learner):
    """Trains factors and projects latent weights; the module's docstring describes the algorithm.

    Args:
        stage: the run.
        settings: of training.
    """

    projects = True

    def __init__(self, stage: Stage, settings: Any):
        super().__init__(stage, settings)
        self.last = max(1, int(settings.ramp_until * stage.total))
        self.every = max(1, self.last // settings.projections)
        if settings.latent_rate:
            for block, projection in self.over_blocks():
                block.register_buffer("residual", torch.zeros_like(projection.weight))

    def start(self) -> None:
        """Project the dense weights with the number of non-zeros at the start."""
        self.project_all(
            [
                partial(projection, projection.weight, self.spec(block, 0), START_STEPS)
                for block, projection in self.over_blocks()
            ]
        )

    def resume(self, step: int) -> None:
        """Register the hooks that collect residuals, while supports still change."""
        if self.settings.latent_rate and step < self.last:
            for block in self.stage.blocks:
                block.watcher = partial(self.watch, block)

    @torch.no_grad()
    def watch(self, block: LearnedBlock, gradient: Float[Tensor, "units width"]) -> None:
        """Add a straight-through gradient to the residual."""
        gradient = gradient.float()
        size = float(gradient.square().mean().sqrt()) + 1e-20
        # Every batch of a step adds its share, so that a step's length does not depend on the number of batches.
        block.get_buffer("residual").sub_(gradient, alpha=self.settings.latent_rate / size / self.settings.accumulate)

    def spec(self, block: LearnedBlock, step: int) -> FormSpec:
        """Return the block's spec with the number of non-zeros scheduled after a step."""
        spec = block.spec
        if spec.pattern.m or self.settings.ramp <= 1 or not spec.nonzeros:
            return spec
        most = min(spec.candidates / spec.mean_nonzeros, self.settings.ramp)
        return spec.with_entries(1 + (most - 1) * max(0.0, 1 - step / self.last) ** 3)

    def stepped(self, step: int) -> None:
        """Project all blocks where a projection is due."""
        if step > self.last or (step < self.last and step % self.every):
            return
        if self.settings.latent_rate:
            average_over_ranks(block.get_buffer("residual") for block in self.stage.blocks)
        self.project_all([partial(self.project, block, one, step) for block, one in self.over_blocks()])
        if step == self.last:
            for block in self.stage.blocks:
                block.watcher = None

    def project(self, block: LearnedBlock, projection: Projection, step: int) -> None:
        """Project the latent weights of one block.

        Args:
            block: changed in place.
            projection: the block's.
            step: the optimizer step just taken, which determines the number of non-zeros.
        """
        with torch.no_grad():
            target = block.unit_weight().float()
            if self.settings.latent_rate:
                residual = block.get_buffer("residual")
                target += residual
                residual.zero_()
        projection(target, self.spec(block, step), self.settings.pursuit_steps)
