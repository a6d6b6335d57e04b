"""Projected gradient descent: dense training, with a projection to factorizations at the end of every epoch."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.format.form import Form
from dsformer.format.schema import BlockConfig
from dsformer.training.learners.base import Learner
from dsformer.training.parametrization import LearnedBlock
from dsformer.training.projection import Projection

# Pursuit steps of the projection at the end of an epoch.
ITERATIONS = 8


class DenseBlock(LearnedBlock):
    """A block whose dense weight is trained; its factors are those of the last projection."""

    def __init__(self, config: BlockConfig, form: Form):
        super().__init__(config, form)
        with torch.no_grad():
            self.latent = nn.Parameter(super().multiplied().clone())
        self.values.requires_grad_(False)
        self.dictionary.requires_grad_(False)

    def multiplied(self) -> Float[Tensor, "units width"]:
        """Return the dense weight."""
        return self.latent

    @torch.no_grad()
    def fix_support(self) -> None:
        """Set the dense weight to the product of the factors."""
        self.latent.copy_(super().multiplied())


class ProjectedGradient(Learner):
    """Trains dense weights for an epoch, projects them warm from the present factorization, and repeats."""

    block_type = DenseBlock
    quantizes = False
    projects = True

    def stepped(self, step: int) -> None:
        """Project at the end of an epoch."""
        if step % self.stage.epoch == 0:
            self.factorize()

    def finish(self) -> None:
        """Project the final weights."""
        self.factorize()

    def factorize(self) -> None:
        """Project the dense weight of every block to a factorization."""
        self.project_all([partial(_project, block, projection) for block, projection in self.over_blocks()])


def _project(block: LearnedBlock, projection: Projection) -> None:
    assert isinstance(block, DenseBlock)
    projection(block.latent.detach(), block.spec, ITERATIONS)
    block.fix_support()
