import threading
from time import sleep

import pytest
import torch

from dsformer.utils.threads import CancelledWorkError, iterate_as_done, raise_if_cancelled


def test_every_job_comes_with_its_result():
    before = torch.get_num_threads()
    found = dict(iterate_as_done(lambda n: (n * n, torch.get_num_threads()), range(20)))
    assert found == {n: (n * n, 1) for n in range(20)}
    assert torch.get_num_threads() == before


def test_ctrl_c_does_not_wait_and_ends_what_runs():
    before, begun, ended = torch.get_num_threads(), threading.Event(), threading.Event()

    def work(n: int) -> None:
        if n == 0:
            return
        begun.set()
        try:
            while True:
                raise_if_cancelled()
                sleep(0.01)
        except CancelledWorkError:
            assert interrupted
            ended.set()

    interrupted = False
    jobs = iterate_as_done(work, range(9))
    next(jobs)
    assert begun.wait(30)
    interrupted = True
    with pytest.raises(KeyboardInterrupt):
        jobs.throw(KeyboardInterrupt)
    assert torch.get_num_threads() == before
    assert ended.wait(30)
    raise_if_cancelled()


def test_jobs_not_begun_are_dropped_when_one_fails():
    before, begun = torch.get_num_threads(), []

    def work(n: int) -> int:
        begun.append(n)
        if n == 0:
            raise ValueError("no")
        sleep(0.2)
        return n

    with pytest.raises(ValueError, match="no"):
        list(iterate_as_done(work, range(50)))
    assert len(begun) <= before + 2
    assert torch.get_num_threads() == before
