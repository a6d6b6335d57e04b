"""Movement pruning and PLATON: the weights to keep are learned along with the task.

Movement pruning (Sanh et al., arXiv 2005.07683) and PLATON (Zhang et al., arXiv 2206.12562) differ in a weight's score:
where gradients move the weight, or how sensitive the loss is to it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.support import choose_support
from dsformer.format.form import Form
from dsformer.format.schema import BlockConfig
from dsformer.training.learners.sr_ste import SRSTE, DenseCodesBlock
from dsformer.utils.distributed import average_over_ranks

# Fractions of the run until which all weights stay, and from which the set of weights is fixed. The number of weights
# falls on a cubic schedule in between.
FROM, UNTIL = 0.1, 0.7
# Optimizer steps between two updates of the mask.
EVERY = 4
# PLATON: decay per batch of the running means of the sensitivity and of its uncertainty.
SENSITIVITY, UNCERTAINTY = 0.85, 0.95


class MovingBlock(DenseCodesBlock):
    """A block of the dense weight, a score for each of its entries, and the mask of those that stay.

    Attributes:
        scores: (units, width), minus the sum over batches of gradient times weight, as the paper derives them: larger
            for weights that gradients move away from zero. No optimizer updates them: Adam's steps are as long for
            weights that hardly matter as for those that do, and over a few hundred steps that is nearly chance.
    """

    scores: Tensor

    def __init__(self, config: BlockConfig, form: Form):
        super().__init__(config, form)
        self.register_buffer("scores", torch.zeros_like(self.latent))
        self.dictionary.requires_grad_(False)
        self.watcher = self.score

    def multiplied(self) -> Float[Tensor, "units width"]:
        """Return the dense weight times its mask."""
        return self.latent * self.latent_mask

    @torch.no_grad()
    def score(self, gradient: Float[Tensor, "units width"]) -> None:
        """Add a batch's gradient of the weight to the scores, for masked entries too (straight-through)."""
        self.scores.addcmul_(gradient, self.latent, value=-1)

    @torch.no_grad()
    def begin(self, weight: Float[Tensor, "units width"], untrained: bool) -> None:
        """Start with the dense weight and nothing masked."""
        self.latent.copy_(weight)
        self.latent_mask.fill_(True)

    @torch.no_grad()
    def keep(self, part: float) -> None:
        """Keep the entries of highest score, ``part`` times as many as at the end of the run."""
        above = self.scores - self.scores.amin()
        self.latent_mask.copy_(choose_support(self.spec.with_entries(part), above, None))


class SensitiveBlock(MovingBlock):
    """A block whose scores are large for weights to which the loss is sensitive, or may be.

    Attributes:
        sensitivity: (units, width), running mean over batches of the absolute value of gradient times weight.
        uncertainty: (units, width), running mean of a batch's absolute deviation from it; their product is the score.
    """

    sensitivity: Tensor
    uncertainty: Tensor

    def __init__(self, config: BlockConfig, form: Form):
        super().__init__(config, form)
        self.register_buffer("sensitivity", torch.zeros_like(self.latent))
        self.register_buffer("uncertainty", torch.zeros_like(self.latent))

    @torch.no_grad()
    def score(self, gradient: Float[Tensor, "units width"]) -> None:
        """Update the scores with a batch's gradient of the weight."""
        size = (gradient * self.latent).abs()
        self.sensitivity.lerp_(size, 1 - SENSITIVITY)
        self.uncertainty.lerp_((size - self.sensitivity).abs(), 1 - UNCERTAINTY)
        torch.mul(self.sensitivity, self.uncertainty, out=self.scores)


class Movement(SRSTE):
    """Trains dense weights and keeps fewer and fewer of them: those that gradients move away from zero."""

    block_type = MovingBlock
    prunes = True

    def stepped(self, step: int) -> None:
        """Update the masks where an update is due."""
        part = step / self.stage.total
        last = part >= UNTIL and (step - 1) / self.stage.total < UNTIL
        if last or (step % EVERY == 0 and FROM < part < UNTIL):
            average_over_ranks(block.get_buffer("scores") for block in self.stage.blocks)
            left = max(0.0, 1 - (part - FROM) / (UNTIL - FROM)) ** 3
            for block in self.stage.blocks:
                assert isinstance(block, MovingBlock)
                most = block.spec.candidates / block.spec.mean_nonzeros
                block.keep(1 + left * (most - 1))


class Platon(Movement):
    """Trains dense weights and keeps fewer and fewer of them: those that the loss is sensitive to.

    Here masked weights keep their values, and return with them.
    """

    block_type = SensitiveBlock
