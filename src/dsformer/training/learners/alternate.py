"""Alternating minimization: codes and dictionaries are trained in turn on a fixed support."""

from dsformer.training.learners.base import Learner

# Turns of codes and turns of dictionaries in an epoch.
TURNS = 4


class AlternatingLearner(Learner):
    """Trains values for some steps, then dictionaries, and so on: block coordinate descent on the task's loss."""

    def resume(self, step: int) -> None:
        """Choose what the next step trains."""
        self.turn(step)

    def stepped(self, step: int) -> None:
        """Choose what the next step trains."""
        self.turn(step)

    def turn(self, step: int) -> None:
        """Switch gradients on for values or for dictionaries, whichever is due after ``step``."""
        length = max(1, self.stage.epoch // (2 * TURNS))
        values = (step // length) % 2 == 0
        for block in self.stage.blocks:
            block.values.requires_grad_(values)
            block.dictionary.requires_grad_(not values)
