"""Straight-through on the codes: dense latent codes, thresholded on the way forward, a free dictionary.

Where codes are entries of the weight and nothing else the latent ones are the dense weight, as in SR-STE.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.factorization.support import choose_support, labels_of
from dsformer.format.form import Form
from dsformer.format.schema import BlockConfig
from dsformer.training.learners.base import Learner
from dsformer.training.parametrization import LearnedBlock

# Optimizer steps between two choices of the support, and the part of the run after which supports stay. Those of an n:m
# pattern are chosen at every step to the end, as in SR-STE.
EVERY, UNTIL = 4, 0.8
# Pull of the latent codes off the support to zero in a step (SR-STE, arXiv 2102.04010).
DECAY = 2e-4


class Masked(torch.autograd.Function):
    """Codes times their mask; the gradient reaches all of them, with a pull to zero off the support."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(codes, mask)
        return codes * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        codes, mask = ctx.saved_tensors
        return gradients[0] + DECAY * codes * ~mask, None


class DenseCodesBlock(LearnedBlock):
    """A block with a latent code for every position."""

    latent_mask: Tensor

    def __init__(self, config: BlockConfig, form: Form):
        super().__init__(config, form)
        self.latent = nn.Parameter(self.codes())
        self.register_buffer("latent_mask", self.mask())
        self.values.requires_grad_(False)

    def multiplied(self) -> Float[Tensor, "units width"]:
        codes, atoms = Masked.apply(self.latent, self.latent_mask), self.spec.atoms
        assert isinstance(codes, Tensor)
        weight = codes[:, :atoms] @ self.atoms()
        return weight + codes[:, atoms:] if self.spec.canonical else weight

    @torch.no_grad()
    def begin(self, weight: Float[Tensor, "units width"], untrained: bool) -> None:
        """Take a dense weight: its entries off the support or, of an untrained model, all, and a support of its own."""
        if untrained:
            self.latent.copy_(weight)
            self.choose()
        else:
            self.latent.copy_(torch.where(self.latent_mask, self.latent, weight))

    @torch.no_grad()
    def choose(self) -> None:
        """Take the largest latent codes as the support; they count by what they add to the weight."""
        spec = self.spec
        # Atoms may have left norm 1.
        norm = self.dictionary.norm(dim=1)
        scale = torch.cat([norm, norm.new_ones(spec.width if spec.canonical else 0)])
        self.latent_mask.copy_(choose_support(spec, self.latent * scale, labels_of(self.order, spec.pattern.group)))

    @torch.no_grad()
    def fix_support(self) -> None:
        """Store the codes on the present support."""
        self.take(self.latent.detach(), self.latent_mask, self.dictionary.detach())


class SRSTE(Learner):
    """Trains latent codes; every few steps the largest become the support."""

    block_type = DenseCodesBlock
    quantizes = False
    latent = True

    def start(self) -> None:
        for block, weight in zip(self.stage.blocks, self.stage.weights, strict=bool(self.stage.weights)):
            assert isinstance(block, DenseCodesBlock)
            block.begin(weight.to(block.latent.device), self.stage.untrained)
        self.stage.blocks.fix_support()

    def stepped(self, step: int) -> None:
        due = step % EVERY == 0 and step <= UNTIL * self.stage.total
        for block in self.stage.blocks:
            assert isinstance(block, DenseCodesBlock)
            if due or block.spec.pattern.m:
                block.choose()

    def finish(self) -> None:
        for block in self.stage.blocks:
            assert isinstance(block, DenseCodesBlock)
            block.fix_support()
