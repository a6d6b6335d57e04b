"""Jobs in processes of their own."""

import os
import subprocess
import time
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from dsformer.errors import InputError
from dsformer.sweep.workers import in_processes


def test_every_job_has_a_process_of_its_own():
    found: list[int] = []
    in_processes([os.getpid] * 3, 2, found.append)
    assert len({*found, os.getpid()}) == 4
    assert not active_children()


def test_results_come_as_soon_as_they_are_there(tmp_path: Path):
    found: list[int] = []
    flag = tmp_path / "flag"

    def keep(result: int) -> None:
        found.append(result)
        if result == 2:
            flag.touch()

    waiting = partial(subprocess.call, ["sh", "-c", f"until [ -e '{flag}' ]; do sleep 0.1; done"])
    in_processes([waiting, partial(int, "1"), partial(int, "2")], 2, keep)
    assert found == [1, 2, 0]


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [(partial(int, "x"), ValueError, "invalid literal"), (partial(os._exit, 9), InputError, "a worker was killed")],
)
def test_what_goes_wrong_ends_the_others(job: partial[Any], error: type[Exception], words: str):
    found: list[Any] = []
    with pytest.raises(error, match=words):
        in_processes([partial(time.sleep, 600), job, partial(int, "1")], 2, found.append)
    assert not found
    assert not active_children()


def test_nothing_to_do():
    in_processes([], 2, pytest.fail)
