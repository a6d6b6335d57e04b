"""Learners: ways to train the factors on a task, registered by name in ``LEARNERS``.

May import packages below ``training`` and, of it, ``parametrization``, ``projection`` and ``optimizer_state``. ``base``
holds ``Learner``, whose hooks the Trainer calls at the start, after every optimizer step and at the end, and ``Stage``,
what a learner works on. ``alternate`` keeps supports and alternates between codes and dictionaries.
``projected_gradient`` and ``stf`` project weights to factorizations. ``sr_ste`` and, on top of it, ``movement`` train
latent codes or weights and choose supports from them. Start reading at ``base``.
"""

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
"""Every learner that a recipe can name. A new one is added by an entry here."""

# Distillation on plain text uses the simplest one, until another is measured to be better at equal steps.
DEFAULT_LEARNER = "fixed"
