"""The threads that fit: one climb per core, and as many jobs that wait for their climbs."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

from glmhmm_core.fitting.climb import Map, ProgressCallback


class Job(Protocol):
    """Work that consists of climbs."""

    def run(self, run: Map, tell: ProgressCallback) -> Any:
        """Do it, with ``run`` to spread climbs over the cores."""


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Runs jobs on all cores; a context manager.

    A compiled climb holds no Python lock, so threads share one process, one compilation cache
    and the subject's arrays. Jobs only wait for climbs, so they have threads of their own: in
    one pool they could fill it and wait for ever.
    """

    def __init__(self) -> None:
        cores = available_cores()
        self._climbs = ThreadPoolExecutor(cores, "climb")
        self._jobs = ThreadPoolExecutor(cores, "job")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an interrupt nobody waits for climbs that run: they may take minutes.
        self._jobs.shutdown(wait=kind is None, cancel_futures=True)
        self._climbs.shutdown(wait=kind is None, cancel_futures=True)

    def submit(self, job: Job, tell: ProgressCallback) -> "Future[Any]":
        """Start a job; what its ``run`` gives comes as a future."""
        return self._jobs.submit(job.run, self._climbs.map, tell)
