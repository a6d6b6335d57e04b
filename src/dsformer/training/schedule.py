"""How long training takes in steps, in which type it computes, and whether it can be done here."""

import math
from importlib.util import find_spec

import torch

from dsformer.errors import InputError, MissingExtraError
from dsformer.training.config import TrainingConfig
from dsformer.utils.distributed import world_size
from dsformer.utils.hardware import fast_bf16

# The modules of the extra "train" without which a run fails, some only at its end, when it is scored.
NEEDED = ("accelerate", "sklearn", "scipy")


def require_training(settings: TrainingConfig) -> None:
    """Check before the work rather than after it.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: nor is what is to be reported to.
    """
    if not all(map(find_spec, NEEDED)):
        raise MissingExtraError("Training", "train")
    # Imported here: with it comes transformers' Trainer, which takes a second.
    from transformers.integrations import get_available_reporting_integrations

    known = ["none", "all", *get_available_reporting_integrations()]
    if settings.report_to not in known:
        raise InputError(f"report_to: {settings.report_to!r} is not one of what is installed: {', '.join(known)}")


def steps_per_epoch(settings: TrainingConfig, examples: int) -> int:
    """Optimizer steps of an epoch."""
    # Processes share the batches.
    batches = math.ceil(math.ceil(examples / settings.batch_size) / world_size())
    return math.ceil(batches / settings.accumulate)


def total_steps(settings: TrainingConfig, examples: int) -> int:
    """Optimizer steps of the whole run."""
    return max(1, math.ceil(settings.epochs * steps_per_epoch(settings, examples)))


def bf16(settings: TrainingConfig) -> bool:
    """Whether to train under bf16 autocast: as asked, or where the hardware multiplies it faster."""
    if settings.bf16 is not None:
        return settings.bf16
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return fast_bf16()
