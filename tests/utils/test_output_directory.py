"""Reserved by a lock, whole or not at all, and without what killed runs left."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dsformer.errors import InputError
from dsformer.utils.atomic_io import remove_unfinished
from dsformer.utils.output_directory import lock, reserve, write_atomically

HOLDS = """
import sys
from pathlib import Path
from dsformer.utils.output_directory import reserve, write_atomically

with reserve(sys.argv[1], overwrite=True) as target, write_atomically(target) as partial:
    (partial / "weights").write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def another(tmp_path: Path):
    """A process that writes the directory, until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_one_after_a_kill_is_not(another: subprocess.Popen, tmp_path: Path):
    with pytest.raises(InputError, match="out: another run is writing it"), reserve(tmp_path / "out"):
        pass
    (left,) = tmp_path.glob(".out.*.partial")
    another.kill()
    another.wait()
    assert left.is_dir()
    with reserve(tmp_path / "out") as target, write_atomically(target) as partial:
        assert not left.exists()
        (partial / "weights").write_text("whole")
    assert [(path.name, os.listdir(path)) for path in tmp_path.iterdir()] == [("out", ["weights"])]


def test_other_outputs_and_their_remains_are_left_alone(another: subprocess.Popen, tmp_path: Path):
    (tmp_path / ".out.more.12345678.partial").mkdir()
    with reserve(tmp_path / "more"), reserve(tmp_path / "out.more"):
        pass
    assert another.poll() is None
    assert list(tmp_path.glob(".out.*.partial"))


def test_steps_of_a_run_share_its_lock_but_threads_do_not(tmp_path: Path):
    refused: list[str] = []

    def other() -> None:
        try:
            with reserve(tmp_path / "out"):
                pass
        except InputError as error:
            refused.append(str(error))

    with reserve(tmp_path / "out") as target, reserve(target), lock(target):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert os.listdir(tmp_path) == []


def test_a_directory_that_was_being_replaced_is_put_back(tmp_path: Path):
    old, new = tmp_path / ".out.0123abcd.partial.old", tmp_path / ".out.0123abcd.partial"
    for path in (old, new):
        path.mkdir()
        (path / "name").write_text(path.name)
    with pytest.raises(InputError, match="is not empty"), reserve(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "name").read_text() == old.name
    assert os.listdir(tmp_path) == ["out"]


def test_places_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="file"), reserve(place):
            pass
    for place, message in (
        ("", "a path is empty"),
        ("/", "root of a file system"),
        ("/proc/none", "cannot be written"),
    ):
        with pytest.raises(InputError, match=message), reserve(place, overwrite=True):
            pass
    with reserve(tmp_path / "new" / "deep") as target:
        assert target == tmp_path / "new" / "deep"
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_read_is_not_written(tmp_path: Path):
    model = tmp_path / "models" / "one"
    model.mkdir(parents=True)
    for place, relation in ((model, "is what"), (model / "small", "lies in what"), (model.parent, "contains what")):
        with pytest.raises(InputError, match=relation), reserve(place, overwrite=True, inputs=[model]):
            pass
    with reserve(tmp_path / "models" / "other", inputs=[model, "some/name-of-the-hub"]):
        pass
    assert os.listdir(model) == []


def test_a_process_that_ends_at_once_removes_what_is_unfinished(tmp_path: Path):
    program = HOLDS.replace(
        "sys.stdin.read()", "import os; from dsformer.utils.atomic_io import remove_unfinished as remove"
    )
    program += "    remove()\n    os._exit(3)\n"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert os.listdir(tmp_path) == []
    remove_unfinished()
