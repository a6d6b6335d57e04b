"""Timing of several functions in alternation, so that a busy machine affects all of them equally."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter

LEAST_ROUNDS, MOST_ROUNDS = 5, 200


@dataclass(frozen=True)
class Ratio:
    """Quotients of paired times: their median (``middle``) and quartiles (``low``, ``high``)."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, times: Sequence[float], others: Sequence[float]) -> "Ratio":
        """Compute ``times / others``, pair by pair."""
        low, _, high = quantiles(pairs := [a / b for a, b in zip(times, others, strict=True)], n=4, method="inclusive")
        return cls(median(pairs), low, high)

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def timed(run: Callable[[], object], repeats: int = 1) -> float:
    """Time some runs in a row and return the mean seconds of one."""
    started = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - started) / repeats


def in_turn(runs: Sequence[Callable[[], float]], seconds: float, most: int = MOST_ROUNDS) -> list[list[float]]:
    """Time every function in rounds; each round starts with another one.

    Args:
        runs: do something once and return the seconds it took; called once before the timed rounds.
        seconds: approximate time to spend; at least ``LEAST_ROUNDS`` rounds are made.
        most: the greatest number of rounds.

    Returns:
        For every function, its seconds in each round.
    """
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    started, rounds = perf_counter(), 0
    while rounds < LEAST_ROUNDS or (perf_counter() - started < seconds and rounds < most):
        for i in range(len(runs)):
            turn = (i + rounds) % len(runs)
            times[turn].append(runs[turn]())
        rounds += 1
    return times
