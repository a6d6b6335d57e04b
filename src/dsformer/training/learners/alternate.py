"""Values and dictionaries in turn, on a fixed support."""

from dsformer.training.learners.base import Learner

# Turns taken by each side in an epoch.
TURNS = 4


class AlternatingLearner(Learner):
    """Trains the values for a while, then the dictionaries, and so on: block coordinate descent on the task."""

    def resume(self, step: int) -> None:
        self.turn(step)

    def stepped(self, step: int) -> None:
        self.turn(step)

    def turn(self, step: int) -> None:
        """Who is trained after ``step``."""
        length = max(1, self.stage.epoch // (2 * TURNS))
        values = (step // length) % 2 == 0
        for block in self.stage.blocks:
            block.values.requires_grad_(values)
            block.dictionary.requires_grad_(not values)
