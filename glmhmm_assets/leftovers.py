"""Leftovers of killed commands in a home: half-written files, and runs that nobody executes."""

import time
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from glmhmm_assets.launcher import BY_HAND_TAG, by_hand_lock
from glmhmm_assets.partitions import STUDY_TAG
from glmhmm_core.whole_file import clear_leftovers

#: Seconds after which a run that was made and never queued will not be.
NEVER_STARTED_SECONDS = 300
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def clear(home: Path, instance: dg.DagsterInstance) -> None:
    """Remove files that nobody is writing any more, and mark runs failed that nobody executes.

    Runs that Dagster's daemon started are its own business, but for those that it never started.
    """
    clear_leftovers(home / "storage")
    now = time.time()
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if BY_HAND_TAG in run.tags:
            gone = not is_run_by_hand(home, run.tags[STUDY_TAG])
        else:
            waited = now - record.create_timestamp.timestamp()
            not_started = run.status is dg.DagsterRunStatus.NOT_STARTED
            gone = not_started and waited > NEVER_STARTED_SECONDS
        if gone:
            instance.report_run_failed(run, "Its process is gone.")


def is_run_by_hand(home: Path, study: str) -> bool:
    """True if a process runs the study by hand now; its lock ends with it."""
    try:
        with FileLock(by_hand_lock(home, study), timeout=0):
            return False
    except Timeout:
        return True
