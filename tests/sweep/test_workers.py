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
from dsformer.sweep import Variant
from dsformer.sweep.workers import in_processes


def named(*jobs: Any) -> dict[str, Any]:
    return {f"job {i}": job for i, job in enumerate(jobs)}


def test_every_job_has_a_process_of_its_own():
    found: list[int] = []
    in_processes(named(*[os.getpid] * 3), 2, found.append)
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
    in_processes(named(waiting, partial(int, "1"), partial(int, "2")), 2, keep)
    assert found == [1, 2, 0]


def test_what_goes_wrong_is_said_once_all_others_are_done():
    found: list[Any] = []
    killed, refused = partial(os._exit, 9), partial(Variant.parse, "nothing")
    with pytest.raises(InputError, match=r"^job 0: its process was killed.*; job 2: methods: 'nothing' is not one of"):
        in_processes(named(killed, partial(int, "1"), refused, partial(int, "3")), 2, found.append)
    assert found == [1, 3]
    assert not active_children()


def test_errors_that_are_not_the_users_come_with_where_they_were_raised():
    found: list[Any] = []
    with pytest.raises(ValueError, match="invalid literal") as raised:
        in_processes(named(partial(Variant.parse, "nothing"), partial(int, "x"), partial(int, "1")), 1, found.append)
    assert "in _work" in raised.value.__notes__[0]
    assert found == [1]


def test_an_end_from_outside_ends_all():
    def stop(result: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_processes(named(partial(time.sleep, 600), partial(int, "1")), 2, stop)
    assert not active_children()
