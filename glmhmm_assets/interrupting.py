"""A run in this process that Ctrl-C ends, at whatever moment it comes.

Dagster notes an interrupt and raises it where it is safe: inside a step, which then fails; or
while a step's resources are made, which leaves no failed step; or nowhere, if no step came after
it. What happened in the run therefore does not tell whether it was interrupted, and the signal
itself is asked.
"""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

#: Dagster gives SIGTERM the handler of SIGINT while a run is executed.
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM})


def execute(
    job: dg.JobDefinition, instance: dg.DagsterInstance, run_id: str, **settings: Any
) -> dg.ExecuteInProcessResult:
    """Execute a job in this thread, the main one; what fails in it is in the result.

    Parameters
    ----------
    job, instance, run_id, **settings
        As for ``JobDefinition.execute_in_process``.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C came while it was executed, also when everything was finished all the same.
        The run is recorded as canceled then, or as what it was when it was finished.
    """
    with _signals_noted() as interrupted:
        try:
            result = job.execute_in_process(
                instance=instance, run_id=run_id, raise_on_error=False, **settings
            )
        except BaseException as error:
            _close_record(instance, run_id, interrupted())
            if interrupted():
                raise KeyboardInterrupt from error
            raise
        if interrupted():
            _close_record(instance, run_id, interrupted=True)
            raise KeyboardInterrupt
    return result


@contextlib.contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether a signal came that ends a run.

    Python writes every signal's number to the descriptor, whichever handler Dagster has set.
    """
    ours, pythons = socket.socketpair()
    with ours, pythons:
        ours.setblocking(False)
        pythons.setblocking(False)
        before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
        came: set[int] = set()
        handlers = {number: signal.getsignal(number) for number in _ENDING}

        def interrupted() -> bool:
            with contextlib.suppress(BlockingIOError):
                came.update(ours.recv(4096))
            return bool(came & _ENDING)

        try:
            yield interrupted
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():  # Dagster may leave its own behind
                signal.signal(number, handler)


def _close_record(instance: dg.DagsterInstance, run_id: str, interrupted: bool) -> None:
    """Mark a run that was interrupted as canceled, or that Dagster was thrown out of as over.

    Dagster takes an interrupt that nobody announced for a failure. A run that it leaves at work
    would keep others waiting.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        return
    if interrupted and run.status is dg.DagsterRunStatus.FAILURE:
        instance.report_run_canceled(run, "It was ended by Ctrl-C.")
    elif not run.is_finished:
        instance.report_run_canceled(run, "Its process was ended before it was.")
