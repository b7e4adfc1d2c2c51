"""Sessions that repeat an earlier one, where chance or the experiment's plan cannot be why.

Two sessions may well be equal: every trial is alike and every choice correct. What tells a copy
is content that a second session would hardly repeat, counted in bits.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.report import ReportRow

#: Bits that a session's content has to have, beside those for the number of pairs of sessions:
#: one coincidence in a million.
BITS = 20.0
#: Columns in which a copy equals its original, beside the task's stimuli and extras.
CONTENT = ("choice", "feedback", "response_time", "block")


def copies(trials: pl.DataFrame, task: Task) -> list[ReportRow]:
    """Point out sessions of a subject that equal an earlier one in everything but their id.

    Parameters
    ----------
    trials
        One subject's trials.
    task
        Its stimuli and extras.

    Returns
    -------
    rows
        A warning for each session that repeats an earlier one.

    Notes
    -----
    Counted are the surprise of each choice given the side of the stimulus and the choice before,
    and of each response time among those of the session. The stimulus, given the one before, and
    the outcome, given choice and side, count too where other sessions show that the sequence of
    stimuli is not one of the experiment's lists. Probabilities are the shares in
    the session itself, so that a session in which every trial is alike has no bits at all.
    """
    names = [*CONTENT, *(s.name for s in task.stimuli), *(e.name for e in task.extras)]
    sessions = {str(n): part for (n,), part in trials.group_by("session", maintain_order=True)}
    content = {name: _key(part, names) for name, part in sessions.items()}
    pairs = len(sessions) * (len(sessions) - 1) / 2
    needed = BITS + np.log2(max(pairs, 1))
    seen: dict[bytes, str] = {}
    rows = []
    for name, part in sessions.items():
        first = seen.setdefault(content[name], name)
        if first == name:
            continue
        others = [other for n, other in sessions.items() if content[n] != content[name]]
        if sum(_bits(part, others, task)) >= needed:
            reason = (
                f"it equals session {first} in everything but its id; both are kept: exclude one "
                "in the study file ([[exclude]]) if it is a copy"
            )
            subject = trials["subject"][0]
            row = ReportRow(
                "session", "same_content", reason, subject, name, n_trials=len(part), warning=True
            )
            rows.append(row)
    return rows


def _key(part: pl.DataFrame, names: Sequence[str]) -> bytes:
    """Content of a session, in its order, as a value that can be compared."""
    return bytes(part.select(pl.struct(names).hash()).to_series().to_numpy().tobytes())


def _bits(part: pl.DataFrame, others: Sequence[pl.DataFrame], task: Task) -> Iterator[float]:
    """Surprise of everything in a session that another one need not repeat."""
    stimuli = [s.name for s in task.stimuli]
    values = part.select(stimuli).rows() if stimuli else [()] * len(part)
    sides = part[stimuli[0]].sign().to_list() if stimuli else [None] * len(part)
    choices, outcomes = part["choice"].to_list(), part["feedback"].to_list()
    yield _surprise(choices, zip(sides, _before(choices), strict=True))
    times = part["response_time"].drop_nulls().to_list()
    yield _surprise(times, [None] * len(times))
    if others and all(_key(part, stimuli) != _key(other, stimuli) for other in others if stimuli):
        yield _surprise(values, _before(values))
        yield _surprise(outcomes, zip(choices, sides, strict=True))


def _before(values: Sequence[object]) -> list[object]:
    return [None, *values[:-1]]


def _surprise(values: Sequence[object], given: "Iterator[object] | Sequence[object]") -> float:
    """Bits of values, each by its share among those with the same condition."""
    table = pl.DataFrame(
        {"value": [repr(v) for v in values], "given": [repr(g) for g in given]},
        schema={"value": pl.String, "given": pl.String},
    )
    both, alone = pl.len().over("value", "given"), pl.len().over("given")
    return float(table.select((alone / both).log(2).sum()).item() or 0.0)
