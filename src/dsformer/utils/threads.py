"""Parallel independent jobs with one torch thread each, so that results do not depend on the number of threads."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

# In a worker: an event that is set when the results of its jobs are no longer needed.
_own = threading.local()


class CancelledWorkError(Exception):
    """Ends a job whose result is no longer needed."""


def raise_if_cancelled() -> None:
    """Raise if the result of this job is no longer needed. Long jobs call this at each step.

    Raises:
        CancelledWorkError: an exception or Ctrl-C has ended the work that the job belongs to.
    """
    left: threading.Event | None = getattr(_own, "left", None)
    if left is not None and left.is_set():
        raise CancelledWorkError


@contextmanager
def single_threaded_pool() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many workers as torch has threads.

    Until the pool is left, torch uses one thread in each worker and in the calling thread. When an exception leaves it,
    jobs that have not begun are dropped, and running jobs end at their next step. An exception waits for these, Ctrl-C
    does not.
    """
    threads, left = torch.get_num_threads(), threading.Event()

    def begin() -> None:
        torch.set_num_threads(1)
        _own.left = left

    pool = ThreadPoolExecutor(threads, initializer=begin)
    torch.set_num_threads(1)
    try:
        yield pool
    except BaseException as error:
        left.set()
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    else:
        pool.shutdown()
    finally:
        torch.set_num_threads(threads)


def iterate_as_done(work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
    """Yield every job with its result, in the order of completion."""
    with single_threaded_pool() as pool:
        futures = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(futures):
            yield futures[done], done.result()
