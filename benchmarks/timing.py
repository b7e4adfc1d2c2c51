"""Timing side by side: contenders take turns, so that a busy moment hits all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeVar

Name = TypeVar("Name")

#: Tells the time in seconds: on the wall, or spent by all threads of this process.
Timer = Callable[[], float]


def clock(work: Callable[[], object], timer: Timer = time.perf_counter) -> float:
    """Seconds that ``work`` takes, once."""
    start = timer()
    work()
    return timer() - start


def side_by_side(
    contenders: Mapping[Name, Callable[[], object]],
    rounds: int,
    timer: Timer = time.perf_counter,
) -> dict[Name, float]:
    """Median seconds of each contender over rounds in which all take a turn.

    Each is called once beforehand, so that nothing is compiled within.
    """
    for work in contenders.values():
        work()
    times: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(clock(work, timer))
    return {name: median(values) for name, values in times.items()}
