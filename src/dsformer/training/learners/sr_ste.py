"""SR-STE on the codes: dense latent codes, masked in the forward pass, with a freely trained dictionary.

Where codes are nothing but entries of the weight, the latent codes are the dense weight, as in SR-STE.
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

# Optimizer steps between two choices of the support, and the fraction of the run after which supports stay. Supports of
# an n:m pattern are chosen at every step to the end, as in SR-STE.
EVERY, UNTIL = 4, 0.8
# Decay of latent codes off the support, added to their gradient (SR-STE, arXiv 2102.04010).
DECAY = 2e-4


class Masked(torch.autograd.Function):
    """Codes times their mask; the gradient reaches all codes, plus a decay of those off the support."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, mask: Tensor) -> Tensor:
        """Return the masked codes.

        Args:
            ctx: autograd's context.
            codes: the latent codes, (units, positions).
            mask: the support, of the same shape.
        """
        ctx.save_for_backward(codes, mask)
        return codes * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the straight-through gradient, with the decay of codes off the support added."""
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
        """Reconstruct the weight from the masked latent codes and the dictionary."""
        codes, atoms = Masked.apply(self.latent, self.latent_mask), self.spec.atoms
        assert isinstance(codes, Tensor)
        weight = codes[:, :atoms] @ self.atoms()
        return weight + codes[:, atoms:] if self.spec.canonical else weight

    @torch.no_grad()
    def begin(self, weight: Float[Tensor, "units width"], untrained: bool) -> None:
        """Take latent codes from a dense weight.

        An untrained model's weight replaces all codes, and the support is chosen anew. Any other weight only fills the
        positions off the support.
        """
        if untrained:
            self.latent.copy_(weight)
            self.choose()
        else:
            self.latent.copy_(torch.where(self.latent_mask, self.latent, weight))

    @torch.no_grad()
    def choose(self) -> None:
        """Choose the largest latent codes as the support, each weighted by its atom's norm."""
        spec = self.spec
        # Training may have changed the norm of atoms from 1.
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
        """Set the latent codes of all blocks."""
        for block, weight in zip(self.stage.blocks, self.stage.weights, strict=bool(self.stage.weights)):
            assert isinstance(block, DenseCodesBlock)
            block.begin(weight.to(block.latent.device), self.stage.untrained)
        self.stage.blocks.fix_support()

    def stepped(self, step: int) -> None:
        """Choose supports where a choice is due."""
        due = step % EVERY == 0 and step <= UNTIL * self.stage.total
        for block in self.stage.blocks:
            assert isinstance(block, DenseCodesBlock)
            if due or block.spec.pattern.m:
                block.choose()

    def finish(self) -> None:
        """Store the codes of all blocks on their final supports."""
        for block in self.stage.blocks:
            assert isinstance(block, DenseCodesBlock)
            block.fix_support()
