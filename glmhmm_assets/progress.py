"""How far a batch of fits is, as a line of the log now and then."""

import threading
import time
from collections.abc import Callable
from typing import Any


class Progress:
    """Counts what the fits tell, from any thread, and says the state at most every few seconds.

    Counted are models, not restarts: how many of these a model has depends on what else it is
    started from, and they are told of together.

    Parameters
    ----------
    say
        Takes a line of text.
    models, folds
        How many models on all sessions, and folds of whole subjects, there are to come.
    every
        Seconds between two lines.
    clock
        Gives the time in seconds.
    """

    def __init__(
        self,
        say: Callable[[str], Any],
        *,
        models: int,
        folds: int,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._every, self._clock = say, every, clock
        self._all = {"models": models, "folds": folds}
        self._done: dict[str, set[tuple[str, int]]] = {counted: set() for counted in self._all}
        self._start = self._last = clock()
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event of the fits."""
        if event["event"] == "cv_fold_complete":
            counted, which = "folds", event["fold"]
        elif event["event"] == "restart_complete" and event["fit_phase"] == "full_data":
            counted, which = "models", event["num_states"]
        else:
            return
        with self._lock:
            self._done[counted].add((event["subject"], which))
            now = self._clock()
            if now - self._last >= self._every:
                self._last = now
                self._say(self._line(now - self._start))

    def _line(self, seconds: float) -> str:
        parts = [f"{len(self._done[k])} of {n} {k}" for k, n in self._all.items() if n]
        return f"fitting: {', '.join(parts)}, {seconds:.0f} s"
