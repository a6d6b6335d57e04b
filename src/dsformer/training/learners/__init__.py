"""Ways to learn the factorizations on a task, by name."""

from dsformer.training.learners.alternate import Alternate
from dsformer.training.learners.base import Learner as Learner
from dsformer.training.learners.base import Stage as Stage
from dsformer.training.learners.movement import Movement, Platon
from dsformer.training.learners.projected_gradient import Refactor
from dsformer.training.learners.sr_ste import StraightThroughCodes
from dsformer.training.learners.stf import StraightThrough

LEARNERS: dict[str, type[Learner]] = {
    "fixed": Learner,
    "alternate": Alternate,
    "refactor": Refactor,
    "codes": StraightThroughCodes,
    "stf": StraightThrough,
    "movement": Movement,
    "platon": Platon,
}
"""Every learner a recipe can name. A new one is added by assigning to its name."""

# What distillation on plain text uses: the simplest, until another is measured to be better at equal steps.
DEFAULT_LEARNER = "fixed"
