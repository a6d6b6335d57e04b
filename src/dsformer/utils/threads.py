"""Independent jobs side by side, one torch thread each, so that results do not depend on how many there are."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

# In a worker: whether nobody waits for its jobs any longer.
_own = threading.local()


class CancelledWorkError(Exception):
    """Ends a job whose result nobody waits for."""


def raise_if_cancelled() -> None:
    """To be called at each step of a long job: raises UnwantedError if an error or Ctrl-C has ended what it was for."""
    left: threading.Event | None = getattr(_own, "left", None)
    if left is not None and left.is_set():
        raise CancelledWorkError


@contextmanager
def single_threaded_pool() -> Iterator[ThreadPoolExecutor]:
    """A pool of as many workers as torch has threads; torch has one in each of them, and here, until it is left.

    Where it is left by an error, jobs not begun are dropped and others end at their next step; Ctrl-C does not wait for
    that.
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
    """Every job with its result, in the order in which they are done."""
    with single_threaded_pool() as pool:
        futures = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(futures):
            yield futures[done], done.result()
