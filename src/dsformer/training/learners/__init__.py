"""Ways to learn the factorizations on a task, by name."""

from dsformer.training.learners.alternate import AlternatingLearner
from dsformer.training.learners.base import Learner as Learner
from dsformer.training.learners.base import Stage as Stage
from dsformer.training.learners.movement import Movement, Platon
from dsformer.training.learners.projected_gradient import ProjectedGradient
from dsformer.training.learners.sr_ste import SRSTE
from dsformer.training.learners.stf import StraightThroughFactorizer

LEARNERS: dict[str, type[Learner]] = {
    "fixed": Learner,
    "alternate": AlternatingLearner,
    "refactor": ProjectedGradient,
    "codes": SRSTE,
    "stf": StraightThroughFactorizer,
    "movement": Movement,
    "platon": Platon,
}
"""Every learner a recipe can name. A new one is added by assigning to its name."""

# What distillation on plain text uses: the simplest, until another is measured to be better at equal steps.
DEFAULT_LEARNER = "fixed"
