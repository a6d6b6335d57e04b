"""Processes that train one model together, as ``torchrun`` starts them.

In a single process these functions do nothing.
"""

import atexit
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache

import torch
from torch import Tensor, distributed, nn

from dsformer.errors import InputError

# How long processes wait for each other: the first one may factorize a large model in the meantime.
PATIENCE = timedelta(hours=24)


def world_size() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_rank() -> bool:
    """Return whether this is the process that writes files and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Block until all processes have reached this call."""
    if world_size() > 1:
        # Imported late: accelerate comes with the extra for training.
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        _part_at_exit()
        state.wait_for_everyone()


@cache
def _part_at_exit() -> None:
    # Threads of the process group that still hold tensors need the interpreter's lock once more to release them. A
    # thread that asks for it after the interpreter has begun to end crashes the process, although all work is done.
    atexit.register(_part)


def _part() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
    # The group's threads are joined only if nothing else holds the group, and wrapped models do hold it. Sleeping here
    # leaves the interpreter's lock to the threads.
    time.sleep(0.1)


def run_on_first_rank(work: Callable[[], object]) -> None:
    """Call ``work`` in the first process while the others wait for it.

    Raises:
        InputError: in the other processes, with the message of the exception in the first one.
    """
    failure: Exception | None = None
    if is_first_rank():
        try:
            work()
        except Exception as error:
            failure = error
    told = [None if failure is None else str(failure)]
    if world_size() > 1:
        wait_for_all()
        distributed.broadcast_object_list(told, 0)
    if failure is not None:
        raise failure
    if told[0] is not None:
        raise InputError(told[0])


def average_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    if world_size() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor /= world_size()


def broadcast_from_first(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by that of the first process."""
    if world_size() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def average_gradients(model: nn.Module, part: nn.Module) -> None:
    """Average the gradients of a submodule whose parameters may change their size.

    DistributedDataParallel cannot do that, and is set to ignore them.

    Args:
        model: the whole model, which DistributedDataParallel will wrap.
        part: the submodule.
    """
    if world_size() == 1:
        return
    held = {id(tensor) for tensor in (*part.parameters(), *part.buffers())}
    named = [*model.named_parameters(), *model.named_buffers()]
    ignored = [name for name, tensor in named if id(tensor) in held]
    nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, ignored)
    for parameter in (parameter for parameter in part.parameters() if parameter.requires_grad):
        parameter.register_post_accumulate_grad_hook(_average_gradient)


def _average_gradient(parameter: Tensor) -> None:
    # The gradient accumulated so far is averaged: the mean of earlier batches does not change.
    if parameter.grad is not None:
        average_over_ranks([parameter.grad])
