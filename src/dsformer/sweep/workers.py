"""Jobs in processes of their own."""

import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dsformer.errors import InputError

Job = Callable[[], Any]


def in_processes(jobs: Sequence[Job], workers: int, keep: Callable[[Any], None]) -> None:
    """Run every job in a fresh process: memory and random state of one do not reach the next.

    Args:
        jobs: can be pickled, as can what they return.
        workers: jobs at a time.
        keep: given what a job returns, as soon as it does.

    Raises:
        InputError: a process was killed. It, and whatever a job raises, ends the others.
    """
    left, running = list(reversed(jobs)), dict[Any, BaseProcess]()
    try:
        while left or running:
            while left and len(running) < workers:
                receiver, process = _started(left.pop())
                running[receiver] = process
            for ready in wait(list(running)):
                keep(_result(ready))
                running.pop(ready).join()
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def _started(job: Job) -> tuple[Connection, BaseProcess]:
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender))
    process.start()
    # The process has the other one: when that is closed, there is nothing left to come.
    sender.close()
    return receiver, process


def _result(receiver: Any) -> Any:
    try:
        result, error = receiver.recv()
    except EOFError:
        raise InputError(
            "sweep: a worker was killed (out of memory?); run it again to go on, with fewer workers"
        ) from None
    if error is not None:
        raise error
    return result


def _work(job: Job, sender: Connection) -> None:
    _end_with_parent()
    try:
        sender.send((job(), None))
    except Exception as error:
        sender.send((None, error))


def _end_with_parent() -> None:
    """A worker whose sweep is killed would go on with its cell, beside the one that takes it up again."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
