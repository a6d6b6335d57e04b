"""Damages artefacts of all kinds at random and loads them; says what became of each.

    python tests/fuzz/artefacts.py --cases 20000 --seed 0 --workers 2
    python tests/fuzz/artefacts.py --only 1234          # one case again, in this process

A case fails when it crashes, hangs, ends in an error that is not one clear line, or loads with other outputs than the
whole artefact has. A third of the directories are as they were written before there were checksums: of those values
may be others, but not NaN. Workers are processes of their own: one that dies is replaced, and
its case has failed. The exit code is 1 if any has.
"""

import argparse
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

os.environ.update(HF_HUB_OFFLINE="1", DSFORMER_AUTOTUNE="0", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.judging import FINE, Judge, Verdict, build

SECONDS_A_CASE, SECONDS_TO_START = 60, 120
BYTES = 16 << 30


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.serve:
            return serve(arguments.serve, Path(folder))
        whole = Path(folder) / "whole"
        build(whole)
        if arguments.only is not None:
            verdict = Judge(whole, Path(folder)).judge(arguments.only)
            print(f"{verdict.outcome}\n{verdict.case}\n{verdict.said}")
            return int(verdict.outcome not in FINE)
        started = perf_counter()
        seeds = range(arguments.seed, arguments.seed + arguments.cases)
        failed = report(run(whole, seeds, arguments.workers))
        print(f"{len(seeds)} cases in {perf_counter() - started:.0f} s, {failed} failed")
        return int(failed > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--only", type=int, help="seed of the one case to run")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def report(verdicts: Iterator[Verdict]) -> int:
    """Print failures as they come, then counts by outcome. Returns how many have failed."""
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        counts[verdict.outcome] += 1
        if verdict.outcome not in FINE:
            print(f"seed {verdict.seed}: {verdict.outcome}\n  {verdict.case}\n  {verdict.said[:2000]}", flush=True)
    for outcome, count in counts.most_common():
        print(f"{count:8} {outcome}")
    return sum(count for outcome, count in counts.items() if outcome not in FINE)


def run(whole: Path, seeds: range, workers: int) -> Iterator[Verdict]:
    """The verdicts on all cases, in any order.

    Args:
        whole: folder of whole directories.
        seeds: of the cases.
        workers: processes at a time.
    """
    waiting, lock, done = iter(seeds), threading.Lock(), threading.Semaphore(0)
    verdicts: list[Verdict] = []

    def work() -> None:
        worker = Worker(whole)
        while True:
            with lock:
                seed = next(waiting, None)
            if seed is None:
                break
            verdicts.append(worker.judge(seed))
            done.release()
        worker.stop()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for position in range(len(seeds)):
        done.acquire()
        yield verdicts[position]
    for thread in threads:
        thread.join()


class Worker:
    """A process that judges cases one after another, and is started anew when it is gone."""

    def __init__(self, whole: Path):
        self.whole = whole
        self._process: subprocess.Popen[bytes] | None = None

    def judge(self, seed: int) -> Verdict:
        limit = SECONDS_A_CASE
        if self._process is None:
            command = [sys.executable, __file__, "--serve", str(self.whole)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
            limit += SECONDS_TO_START
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{seed}\n".encode())
        if not select.select([process.stdout], [], [], limit)[0]:
            self.stop()
            return Verdict(seed, "hang", f"no answer in {limit} s")
        line = process.stdout.readline()
        if not line:
            self.stop()
            return Verdict(seed, "crash", f"exit status {process.returncode}")
        return Verdict(**json.loads(line))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve(whole: Path, scratch: Path) -> int:
    """Judge the cases whose seeds come in, one a line, in bounded memory."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    judge = Judge(whole, scratch)
    for line in sys.stdin:
        print(json.dumps(asdict(judge.judge(int(line)))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
