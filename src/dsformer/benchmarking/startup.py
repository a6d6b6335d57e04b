"""Start-up: what a fresh process takes to load a model and embed one sentence, and how much memory it ever holds."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from dsformer.benchmarking.engines import Contender, Opened
from dsformer.benchmarking.runtimes import native
from dsformer.benchmarking.timing import in_turn
from dsformer.errors import InputError
from dsformer.utils.hardware import Processor, processor

SENTENCE = "The old bridge over the river was built of cold grey stone."
PROGRAMS = Path(__file__).parent / "programs"
# Types of PyTorch's weights; empty: as they are stored.
PYTORCH = {"eager": "", "fp32": "float32", "bf16": "bfloat16"}
# Runs a program and prints its peak of resident memory. The kernel's count for children of a process would begin at the
# memory of that process.
RUNNER = """
import sys
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"))
try:
    with open("/proc/self/status") as status:
        print(next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM")))
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class StartUp:
    """Start-up of one contender.

    Attributes:
        contender: its name.
        threads: it ran on.
        median: seconds from the start of the process to its end.
        memory_bytes: median of the peaks of resident memory.
        rounds: number of processes.
        processor: that ran them.
    """

    contender: str
    threads: int
    median: float
    memory_bytes: int
    rounds: int
    processor: Processor

    def as_dict(self) -> dict[str, Any]:
        """Return the measurement as plain data."""
        return asdict(self)


def start_up(contenders: Sequence[Contender], threads: Sequence[int]) -> list[StartUp]:
    """Start a process for every contender in turn, five times after an untimed one, which brings the files into memory.

    Contenders that have no program, such as compiled ones, are left out.

    Raises:
        InputError: a program failed.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in threads:
            commands = {one.name: program(one, count, Path(folder)) for one in contenders}
            known = {name: command for name, command in commands.items() if command}
            peaks: dict[str, list[int]] = {name: [] for name in known}
            times = in_turn([partial(_run, command, count, peaks[name]) for name, command in known.items()], 0)
            for name, own in zip(known, times, strict=True):
                memory = int(median(peaks[name][1:]))
                found.append(StartUp(name, count, median(own), memory, len(own), processor()))
    return found


def program(contender: Contender, threads: int, folder: Path) -> list[str] | None:
    """Return the program of a contender and its arguments; None where there is none.

    Args:
        contender: to start.
        threads: it gets.
        folder: where a file of the tokenizer is written, for engines that read one.
    """
    opened, way = Opened(contender.model), contender.way
    last = [str(threads), SENTENCE]
    if way in native.TYPES:
        return [str(PROGRAMS / "native.py"), str(opened.top), native.TYPES[way] or "", *last]
    if way in PYTORCH:
        return [str(PROGRAMS / "pytorch.py"), str(opened.place), PYTORCH[way], *last]
    if contender.engine.path is None or not contender.tokenizer.is_fast:
        return None
    vocabulary = folder / "tokenizer.json"
    tokenizer = contender.tokenizer.backend_tokenizer
    # It keeps the length that texts were last cut to.
    tokenizer.no_truncation()
    tokenizer.save(str(vocabulary))
    engine = way.replace("/", "-").partition("-")[0]
    return [str(PROGRAMS / f"{engine}.py"), str(contender.engine.path), str(vocabulary), *last]


def _run(command: list[str], threads: int, peaks: list[int]) -> float:
    """Run a program, add its peak of memory to the list, and return its seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUNNER, *command], capture_output=True, text=True, env=environment, check=False
    )
    took = perf_counter() - started
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{Path(command[0]).name}: start-up of {command[1]} failed ({last})")
    peaks.append(int(done.stdout.split()[-1]))
    return took
