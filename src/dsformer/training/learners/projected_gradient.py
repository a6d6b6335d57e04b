"""Projected gradient descent: dense training, factorized again at the end of every epoch."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.format.form import Form
from dsformer.format.schema import BlockConfig
from dsformer.training.learners.base import Learner
from dsformer.training.parametrization import LearnedBlock
from dsformer.training.projection import Projection

# Steps of the pursuit at the end of an epoch.
ITERATIONS = 8


class DenseBlock(LearnedBlock):
    """A block whose dense weight is trained; the factorization is what it was projected to last."""

    def __init__(self, config: BlockConfig, form: Form):
        super().__init__(config, form)
        with torch.no_grad():
            self.latent = nn.Parameter(super().multiplied().clone())
        self.values.requires_grad_(False)
        self.dictionary.requires_grad_(False)

    def multiplied(self) -> Float[Tensor, "units width"]:
        return self.latent

    @torch.no_grad()
    def fix_support(self) -> None:
        """Make the dense weight the factorization's."""
        self.latent.copy_(super().multiplied())


class ProjectedGradient(Learner):
    """Trains dense weights for an epoch, factorizes them from the present factorization on, and goes on from there."""

    block_type = DenseBlock
    quantizes = False
    projects = True

    def stepped(self, step: int) -> None:
        if step % self.stage.epoch == 0:
            self.factorize()

    def finish(self) -> None:
        self.factorize()

    def factorize(self) -> None:
        """Project every block."""
        self.project_all([partial(_project, block, projection) for block, projection in self.over_blocks()])


def _project(block: LearnedBlock, projection: Projection) -> None:
    assert isinstance(block, DenseBlock)
    projection(block.latent.detach(), block.spec, ITERATIONS)
    block.fix_support()
