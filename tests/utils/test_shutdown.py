"""Ctrl-C and SIGTERM in real processes: soon, with the exit code of shells, and nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsformer.utils.shutdown import PATIENCE

# Writes a directory; then goes on in a way that hears of Ctrl-C (a loop), or does not (a call that never comes back).
PROGRAM = """
import ctypes, sys, time
from dsformer.utils.shutdown import handle_signals, exit_code, leave
from dsformer.utils.output_directory import reserve, write_atomically
from dsformer.utils.threads import iterate_as_done

def work(_):
    while True:
        time.sleep(0.01)

handle_signals()
try:
    with reserve(sys.argv[1]) as target, write_atomically(target) as partial:
        (partial / "weights").write_text("half")
        print("writing", flush=True)
        if sys.argv[2] == "fits":
            list(iterate_as_done(work, range(4)))
        elif sys.argv[2] == "deaf":
            lock = ctypes.create_string_buffer(256)
            for _ in range(2):
                ctypes.CDLL(None).pthread_mutex_lock(lock)
except KeyboardInterrupt:
    leave(exit_code())
"""


def started(output: Path, how: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(output), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("how", ["fits", "deaf"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends(how: str, number: int, tmp_path: Path):
    process = started(tmp_path / "out", how)
    process.send_signal(number)
    try:
        # It would go on for ever.
        process.communicate(timeout=PATIENCE + 60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert os.listdir(tmp_path) == []


def test_what_is_ignored_stays_so(tmp_path: Path):
    """As nohup has it."""
    program = (
        "import os, signal, time; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from dsformer.utils.shutdown import handle_signals; handle_signals();"
        "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.2)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compress", "sweep"])
def test_a_command_in_the_middle_of_fits(command: str, tmp_path: Path):
    """Large weights: one alternation takes seconds."""
    from transformers import BertConfig, BertModel

    from fixtures.training import write_base

    base = write_base(tmp_path / "base")
    BertModel(BertConfig(vocab_size=400, hidden_size=768, num_hidden_layers=1, intermediate_size=3072)).save_pretrained(
        base
    )
    words = [command, str(base), "-o", str(tmp_path / "out"), "--allocation", "uniform", "--quiet"]
    words += ["--methods", "dense_sparse", "--ratios", "2.8", "--evaluate", "banking77"] if command == "sweep" else []
    process = subprocess.Popen([sys.executable, "-m", "dsformer", *words], stderr=subprocess.PIPE, text=True)
    lock = tmp_path / ".out.lock"
    while not lock.exists():
        time.sleep(0.1)
    time.sleep(20)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not lock.exists()
    assert not [path for path in tmp_path.rglob("*") if ".partial" in path.name]
