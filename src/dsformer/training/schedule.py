"""Number of optimizer steps, choice of bf16, and a check that training is possible here."""

import math
from importlib.util import find_spec

import torch

from dsformer.errors import InputError, MissingExtraError
from dsformer.training.config import TrainingConfig
from dsformer.utils.distributed import world_size
from dsformer.utils.hardware import fast_bf16

# The modules of the extra "train" that a run needs, some of them only at its end, when the model is scored.
NEEDED = ("accelerate", "sklearn", "scipy")


def require_training(settings: TrainingConfig) -> None:
    """Check that training can run, before the work rather than after it.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: ``report_to`` names an integration that is not installed.
    """
    if not all(map(find_spec, NEEDED)):
        raise MissingExtraError("Training", "train")
    # Imported here because it imports transformers' Trainer, which takes a second.
    from transformers.integrations import get_available_reporting_integrations

    known = ["none", "all", *get_available_reporting_integrations()]
    if settings.report_to not in known:
        raise InputError(f"report_to: {settings.report_to!r} is not one of what is installed: {', '.join(known)}")


def steps_per_epoch(settings: TrainingConfig, examples: int) -> int:
    """Return the optimizer steps of an epoch."""
    # Processes share the batches.
    batches = math.ceil(math.ceil(examples / settings.batch_size) / world_size())
    return math.ceil(batches / settings.accumulate)


def total_steps(settings: TrainingConfig, examples: int) -> int:
    """Return the optimizer steps of the whole run."""
    return max(1, math.ceil(settings.epochs * steps_per_epoch(settings, examples)))


def bf16(settings: TrainingConfig) -> bool:
    """Return whether to train under bf16 autocast: as the recipe says, or else where the hardware is faster in it."""
    if settings.bf16 is not None:
        return settings.bf16
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return fast_bf16()
