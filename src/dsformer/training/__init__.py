"""Training of the factors on a task or on plain text: data, learners, distillation and the Trainer that runs them.

May import ``evaluation``, ``factorization``, ``calibration`` and the packages below them, but neither ``recipe`` nor
``pipeline``. ``config`` holds the settings. ``data`` tokenizes the examples. ``loop`` replaces the compressed layers by
plain ones whose weights are reconstructed from the factors (``conversion``, ``parametrization``, ``reconstruct``),
attaches a learner (``learners``, which project by ``projection``) and a distillation loss (``distillation``), and runs
``trainer``; ``conversion`` then puts the factors back into compressed layers. ``finetune`` and ``card`` train and
describe a dense model. Start reading at ``loop.learn``.
"""
