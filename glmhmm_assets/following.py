"""Telling a terminal how far a run is: its steps and their messages."""

import contextlib
import logging
import threading
from collections.abc import Iterator

import dagster as dg
from rich.console import Console
from rich.status import Status

from glmhmm_assets.faults import explain

#: Seconds between two looks at the run's events.
LOOK_EVERY = 0.5


@contextlib.contextmanager
def follow(
    instance: dg.DagsterInstance, run_id: str, console: Console, title: str
) -> Iterator[None]:
    """Tell a run's events while it is executed inside the ``with`` block.

    The events are read back from the instance, the same that the Dagster pages show; the run
    itself keeps this thread, so that Ctrl-C reaches it.
    """
    done = threading.Event()
    with console.status(f"{title}: starting") as status:
        teller = _Teller(instance, run_id, console, status, title)

        def tell_on() -> None:
            while not done.wait(LOOK_EVERY):
                try:
                    teller.tell_news()
                except Exception as error:  # of a full disk, say, the run itself tells
                    if explain(error, "") is None:
                        raise

        thread = threading.Thread(target=tell_on, name="follow", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            teller.tell_news()


class _Teller:
    """Remembers what of a run was told."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        run_id: str,
        console: Console,
        status: Status,
        title: str,
    ) -> None:
        self._instance, self._run_id = instance, run_id
        self._console, self._status, self._title = console, status, title
        self._cursor: str | None = None
        self._started: dict[str, float] = {}

    def tell_news(self) -> None:
        """Tell what came since the last time."""
        news = self._instance.get_records_for_run(self._run_id, self._cursor)
        self._cursor = news.cursor
        for record in news.records:
            self._tell(record.event_log_entry)

    def _tell(self, entry: dg.EventLogEntry) -> None:
        event, step = entry.dagster_event, entry.step_key or ""
        name = step.split("__", 1)[-1]  # Dagster joins study and asset so
        if event is None:
            level, (first, *_) = int(entry.level), entry.user_message.splitlines() or [""]
            # Of steps that never start Dagster says only whose failure they wait for.
            if level >= logging.INFO and step in self._started:
                self._say(f"  {first}", "yellow" if level >= logging.WARNING else "dim")
        elif event.event_type is dg.DagsterEventType.STEP_START:
            self._started[step] = entry.timestamp
            self._status.update(f"{self._title}: {name}")
        elif event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            seconds = entry.timestamp - self._started[step]
            self._say(f"{self._title}: {name} done in {seconds:.1f} s", "green")
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            self._say(f"{self._title}: {name} failed", "red")

    def _say(self, text: str, style: str) -> None:
        self._console.print(text, style=style, markup=False, highlight=False)
