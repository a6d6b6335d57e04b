"""Jobs in separate processes, a few at a time."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dsformer.errors import DSFormerError, InputError
from dsformer.utils.atomic_io import remove_unfinished
from dsformer.utils.shutdown import WORKERS_PATIENCE, exit_code, handle_signals, leave

# Seconds that workers have to end by themselves.
LAST_SECONDS = WORKERS_PATIENCE + 0.3
Job = Callable[[], Any]


def in_processes(jobs: Mapping[str, Job], workers: int, keep: Callable[[Any], None]) -> None:
    """Run every job in a fresh process, so that memory and random state of one do not reach the next.

    Args:
        jobs: by name; they can be pickled, as can what they return.
        workers: jobs at a time.
        keep: called with the result of a job as soon as it returns.

    Raises:
        InputError: jobs raised user errors or were killed; the message says which. Any other error is raised unchanged.
            Both are raised after all other jobs are done, so that one failure does not end hours of work.
    """
    left, running, failed = list(jobs.items())[::-1], dict[Any, tuple[str, BaseProcess]](), dict[str, Exception]()
    try:
        while left or running:
            while left and len(running) < workers:
                name, job = left.pop()
                receiver, process = _started(job)
                running[receiver] = name, process
            for ready in wait(list(running)):
                result, error = _received(ready)
                name, process = running.pop(ready)
                process.join()
                if error is None:
                    keep(result)
                else:
                    failed[name] = error
    finally:
        _end([process for _, process in running.values()])
    _raise(failed)


def _end(processes: Sequence[BaseProcess]) -> None:
    """Terminate processes so that they remove unfinished files; kill those that take too long."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + LAST_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()


def _raise(failed: Mapping[str, Exception]) -> None:
    for error in failed.values():
        if not isinstance(error, DSFormerError):
            raise error
    if failed:
        raise InputError("; ".join(f"{name}: {error}" for name, error in failed.items()))


def _started(job: Job) -> tuple[Connection, BaseProcess]:
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender))
    with _uninterrupted():
        process.start()
    # The process has its own copy: when that is closed, nothing more can be received.
    sender.close()
    return receiver, process


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep the terminal's Ctrl-C from processes started inside the context: their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _received(receiver: Any) -> tuple[Any, Exception | None]:
    """Return the result of a job, or the error it failed with."""
    try:
        return receiver.recv()
    except EOFError:
        return None, InputError("its process was killed (out of memory?); run the sweep again, with fewer workers")


def _work(job: Job, sender: Connection) -> None:
    handle_signals(WORKERS_PATIENCE)
    _end_with_parent()
    try:
        sender.send((job(), None))
    except KeyboardInterrupt:
        leave(exit_code())
    except Exception as error:
        # The traceback is lost on the way to the other process.
        error.add_note(traceback.format_exc())
        sender.send((None, error))


def _end_with_parent() -> None:
    """End this worker when its sweep is killed: it would continue its cell beside the sweep that resumes it."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        remove_unfinished()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
