from time import sleep

import pytest
import torch

from dsformer.parallel import as_done


def test_every_job_comes_with_its_result():
    before = torch.get_num_threads()
    found = dict(as_done(lambda n: (n * n, torch.get_num_threads()), range(20)))
    assert found == {n: (n * n, 1) for n in range(20)}
    assert torch.get_num_threads() == before


def test_jobs_not_begun_are_dropped_when_one_fails():
    before, begun = torch.get_num_threads(), []

    def work(n: int) -> int:
        begun.append(n)
        if n == 0:
            raise ValueError("no")
        sleep(0.2)
        return n

    with pytest.raises(ValueError, match="no"):
        list(as_done(work, range(50)))
    assert len(begun) <= before + 2
    assert torch.get_num_threads() == before
