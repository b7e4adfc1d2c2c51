"""Warnings about data that were read with a wrong sign or with wrong codes.

Nothing here drops or changes a trial. Every rule looks at one subject's trials and says in one
sentence what looks wrong and which key of the task would mend it. The key itself is worded in
``trials/remedies.py``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import bdtr, ndtr

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials import remedies
from glmhmm_core.trials.report import ReportRow

#: A coincidence less probable than this is none; shared among sessions where each is looked at.
LEVEL = 1e-3
#: Agreement that counts as "on most trials not": with chance at a half, a clear margin below it.
MOST_DISAGREE = 1 / 3
#: Share of a choice after evidence for it minus that after evidence against it, from which on
#: choices follow the stimulus (or, below its negative, go against it).
FOLLOWS = 0.2
#: Trials from which on a value that never changes, or never occurs, is worth a word.
ENOUGH = 10
#: Share of trials without a choice that is worth a word, and the share from which on a session
#: with choices of one side alone looks like one of other codes.
MANY_WITHOUT, SOME_WITHOUT = 1 / 2, 1 / 3
#: Share of trials on which a side has to be correct, or chosen, to count as one that occurs.
OCCURS = 0.1


@dataclass(frozen=True)
class _Trials:
    """Trials of a subject or a session that count, as arrays.

    Attributes
    ----------
    choice : (T,) float
        Class, NaN where none was made or where it is masked.
    outcome : (T,) float
        +1 rewarded, -1 not, NaN where unknown or where there is no choice.
    side : (T,) float
        Sign of the main stimulus, NaN where unknown or where the task has none.
    without : (T,) bool
        No choice was made.
    """

    choice: np.ndarray
    outcome: np.ndarray
    side: np.ndarray
    without: np.ndarray

    @property
    def made(self) -> np.ndarray:
        """Classes of the choices made, float (<= T,)."""
        return self.choice[~np.isnan(self.choice)]

    @property
    def misread(self) -> bool:
        """True if so many trials have no choice that choices of one side alone look misread."""
        return bool(len(self.without) and self.without.mean() >= SOME_WITHOUT)

    @property
    def agreement(self) -> np.ndarray:
        """True for trials whose correct side is that of the stimulus, bool (<= T,).

        Of two choices the correct one was made if it was rewarded, else it was the other. Of
        trials with choice, outcome and a stimulus that is not 0.
        """
        correct = (2 * self.choice - 1) * self.outcome
        known = ~np.isnan(correct) & (np.abs(self.side) == 1)
        return (correct == self.side)[known]


def implausible(trials: pl.DataFrame, task: Task) -> list[ReportRow]:
    """Say what looks wrong with one subject's sign and codes.

    Parameters
    ----------
    trials
        One subject's trials with ``CLEANING_SCHEMA``. Trials outside the chain do not count,
        and masked ones have no choice that counts.
    task
        What the columns mean.

    Returns
    -------
    rows
        Warnings, at most one of each rule for the whole subject or for a session.
    """
    subject = trials["subject"][0] if len(trials) else None
    chain = trials.filter("in_chain")
    whole = _of(chain, task)
    rows = [
        ReportRow("subject", rule, reason, subject, n_trials=chain.height, warning=True)
        for rule, look in _OF_SUBJECT.items()
        if (reason := look(whole, task)) is not None
    ]
    rows += [
        ReportRow("subject", "stimulus_constant", reason, subject, warning=True)
        for reason in _constant_stimuli(chain, task)
    ]
    sessions = {
        str(name): _of(part, task)
        for (name,), part in chain.group_by("session", maintain_order=True)
    }
    found = {row.rule for row in rows}
    if task.num_classes == 2 and "choice_codes" in found and whole.misread:
        return [row for row in rows if row.rule == "choice_codes"]  # all else may follow from it
    if task.num_classes == 2 and len(sessions) > 1:
        odd = [] if "choice_codes" in found else list(_other_codes(sessions, task))
        turned = [] if _SIGN in found and not _mixed(sessions) else _turned(sessions)
        if turned:
            rows = [row for row in rows if row.rule != _SIGN]
        rows += [
            ReportRow(
                "session",
                rule,
                reason,
                subject,
                name,
                n_trials=len(sessions[name].choice),
                warning=True,
            )
            for rule, name, reason in (*odd, *_tell_turned(turned, sessions, task))
        ]
    return rows


_SIGN = "reversed_sign"


def _of(chain: pl.DataFrame, task: Task) -> _Trials:
    """Take the columns that the rules look at."""
    choice = pl.when(~pl.col("masked")).then("choice").cast(pl.Float64).fill_null(np.nan)
    outcome = pl.when(choice.is_not_nan()).then("feedback").cast(pl.Float64).fill_null(np.nan)
    main = task.main_stimulus
    side = pl.col(main.name).sign() if main else pl.lit(None, pl.Float64)
    table = chain.select(
        choice.alias("choice"),
        outcome.alias("outcome"),
        side.fill_null(np.nan).alias("side"),
        pl.col("choice").is_null().alias("without"),
    )
    return _Trials(*(table[name].to_numpy() for name in ("choice", "outcome", "side", "without")))


# -- sign -------------------------------------------------------------------------------------


def _reversed_sign(trials: _Trials, task: Task) -> str | None:
    """Judge stimulus, choice and outcome together: which of them contradicts the other two."""
    if task.num_classes != 2 or not task.stimuli:
        return None
    follows = _follows(trials)
    agreement = trials.agreement
    if _mostly_wrong(agreement, LEVEL):
        what = (
            f"the correct side (by choice and outcome) is not that of {task.stimuli[0].name!r} "
            f"on {_of_all(~agreement)} trials"
        )
        if follows > 0:
            return (
                f"{what}, and choices follow it: the codes of the outcome look swapped. "
                f"{remedies.swap_outcomes(task)}"
            )
        return f"{what}: its sign looks reversed. {remedies.turn(task, follows < 0)}"
    if follows < 0:
        return (
            f"choices go against the sign of {task.stimuli[0].name!r} ({_shares(trials, task)}): "
            f"it looks reversed. {remedies.turn_with_outcomes(task, bool(len(agreement)))}"
        )
    return None


def _mostly_wrong(agreement: np.ndarray, level: float) -> bool:
    """True if agreement is so far below a half that it is neither chance nor a mixture."""
    right, total = int(agreement.sum()), len(agreement)
    return total > 0 and right / total <= MOST_DISAGREE and bdtr(right, total, 0.5) < level


def _follows(trials: _Trials) -> int:
    """+1 if choices follow the sign of the stimulus, -1 if they go against it, else 0.

    Taken from the difference of two shares, which a bias for one side does not change.
    """
    counts = _chosen(trials)
    if min(total for _, total in counts) < ENOUGH:
        return 0
    (low, n_low), (high, n_high) = counts
    gain = high / n_high - low / n_low
    share = (low + high) / (n_low + n_high)
    error = np.sqrt(share * (1 - share) * (1 / n_low + 1 / n_high))
    if abs(gain) < FOLLOWS or ndtr(-abs(gain) / error) >= LEVEL:
        return 0
    return 1 if gain > 0 else -1


def _chosen(trials: _Trials) -> list[tuple[int, int]]:
    """Choices of class 1, and all choices, at negative and at positive stimuli."""
    made = ~np.isnan(trials.choice)
    return [
        (int((trials.choice[here] == 1).sum()), int(here.sum()))
        for here in (made & (trials.side == sign) for sign in (-1, 1))
    ]


def _shares(trials: _Trials, task: Task) -> str:
    (low, n_low), (high, n_high) = _chosen(trials)
    return (
        f"{task.choices[1]!r} on {low / n_low:.0%} of trials where it is negative, on "
        f"{high / n_high:.0%} where it is positive"
    )


def _mixed(sessions: dict[str, _Trials]) -> bool:
    """True if some sessions are clearly reversed, and some clearly are not."""
    level = LEVEL / len(sessions)
    return bool(_turned(sessions)) and any(
        _mostly_wrong(~session.agreement, level) for session in sessions.values()
    )


def _turned(sessions: dict[str, _Trials]) -> list[str]:
    """Sessions whose stimulus disagrees with the correct side on most trials."""
    level = LEVEL / len(sessions)
    return [name for name, s in sessions.items() if _mostly_wrong(s.agreement, level)]


def _tell_turned(
    turned: list[str], sessions: dict[str, _Trials], task: Task
) -> Iterator[tuple[str, str, str]]:
    for name in turned:
        wrong = ~sessions[name].agreement
        yield (
            _SIGN,
            name,
            f"the correct side (by choice and outcome) is not that of {task.stimuli[0].name!r} on "
            f"{_of_all(wrong)} trials, as in {len(turned)} of {len(sessions)} sessions: their sign "
            "looks reversed, that of the others does not. Turn it in the files of these sessions",
        )


# -- codes ------------------------------------------------------------------------------------


def _choice_codes(trials: _Trials, task: Task) -> str | None:
    """Find choices of the task that never occur."""
    made = trials.made
    never = [c for c in range(task.num_classes) if not (made == c).any()]
    if len(made) < ENOUGH * (task.num_classes - 1) or not never:
        return None
    if task.num_classes > 2:
        names = " and ".join(
            f"{task.choices[c]!r} (code {remedies.written(task.choice_codes[c])})" for c in never
        )
        return (
            f"{names} never occurs among {len(made)} choices: correct the codes in [choices] of "
            "the task, or leave out a choice that does not exist"
        )
    return _one_side(trials, task)


def _one_side(trials: _Trials, task: Task) -> str:
    """Say that one of two choices never occurs, and which codes would make it occur."""
    made = trials.made
    reason = f"all {len(made)} choices are {task.choices[int(made[0])]!r}"
    if not trials.misread:
        return f"{reason}. {remedies.compare_codes(task)}"
    return (
        f"{reason} and {_of_all(trials.without)} trials have none: the codes of the choices look "
        f"misread. {remedies.take_none_as_choice(task, int(made[0]))}"
    )


def _without_choice(trials: _Trials, task: Task) -> str | None:
    """Find that half of the trials or more have no choice."""
    if len(trials.without) < ENOUGH or trials.without.mean() < MANY_WITHOUT:
        return None
    if _choice_codes(trials, task) is not None:
        return None  # which says so
    return (
        f"{_of_all(trials.without)} trials have no choice (it is empty, or of code "
        f"{remedies.written(task.no_choice_codes)}): if that is a choice too, give its code in "
        "[choices] codes of the task"
    )


def _other_codes(sessions: dict[str, _Trials], task: Task) -> Iterator[tuple[str, str, str]]:
    """Sessions that seem to write choices in other codes than the subject's other sessions."""
    counts = {name: np.bincount(s.made.astype(int), minlength=2) for name, s in sessions.items()}
    total = sum(counts.values())
    for name, own in counts.items():
        session, others = sessions[name], total - own
        if min(own) > 0 or max(own) < ENOUGH or not session.misread:
            continue
        usual = (others[np.argmax(own)] + 1) / (others.sum() + 2)
        if usual ** max(own) < LEVEL / len(sessions):
            yield "choice_codes", name, f"{_one_side(session, task)} (other sessions are not so)"


# -- outcomes ---------------------------------------------------------------------------------


def _outcome_is_choice(trials: _Trials, task: Task) -> str | None:
    """Find outcomes that repeat the choice."""
    if task.feedback_column is None:
        return None
    known = ~np.isnan(trials.outcome)
    choice, outcome = trials.choice[known], trials.outcome[known]
    rewarded, not_rewarded = choice[outcome > 0], choice[outcome < 0]
    if min(len(rewarded), len(not_rewarded)) < ENOUGH or set(rewarded) & set(not_rewarded):
        return None
    sides = trials.side[known]
    if np.unique(sides[np.abs(sides) == 1]).size == 1:
        return None  # the same side is always correct
    names = " or ".join(repr(task.choices[int(c)]) for c in np.unique(rewarded))
    return (
        f"the outcome tells nothing but the choice: on all {known.sum()} trials it is rewarded "
        f"exactly where {names} was chosen, so that {task.feedback_column!r} looks like a copy of "
        f"{task.choice_column!r}. Give the column of the outcomes as feedback in [columns] of the "
        "task"
    )


def _outcome_constant(trials: _Trials, task: Task) -> str | None:
    """Find outcomes that never change although the stimulus does not say so."""
    if task.feedback_column is None:
        return None
    outcome = trials.outcome[~np.isnan(trials.outcome)]
    if len(outcome) < ENOUGH or (outcome != outcome[0]).any():
        return None
    agreement = trials.agreement
    if task.num_classes == 2 and len(agreement) and agreement.all():
        return None  # a perfect subject
    reason = (
        f"all {len(outcome)} outcomes are {'rewarded' if outcome[0] > 0 else 'unrewarded'} (codes "
        f"{remedies.written(task.rewarded_codes)} and {remedies.written(task.unrewarded_codes)})"
    )
    if task.num_classes == 2 and len(agreement):
        reason += f", also on {_of_all(~agreement)} trials where the stimulus says otherwise"
    return (
        f"{reason}. Correct the codes in [feedback] of the task, or give the column of the "
        "outcomes as feedback in [columns]"
    )


# -- stimulus ---------------------------------------------------------------------------------


def _constant_stimuli(chain: pl.DataFrame, task: Task) -> Iterator[str]:
    for stimulus in task.stimuli:
        values = chain[stimulus.name].drop_nulls()
        if len(values) >= ENOUGH and values.n_unique() == 1:
            sources = " and ".join(map(repr, stimulus.sources))
            yield (
                f"{stimulus.name!r} is {values[0]:g} on all {len(values)} trials (from {sources}): "
                "give the column that varies in [[stimuli]] of the task"
            )


def _one_sided(trials: _Trials, task: Task) -> str | None:
    """Find a stimulus without negative (or positive) values whose correct sides differ."""
    if task.num_classes != 2 or not task.stimuli:
        return None
    signs = np.unique(trials.side[~np.isnan(trials.side)])
    if {-1, 1} <= set(signs) or not signs.any():
        return None
    if len(trials.agreement):
        minority = min(trials.agreement.mean(), 1 - trials.agreement.mean())
        total, what = len(trials.agreement), "was correct"
    elif 0 in signs:  # a task of detection: without a stimulus it asks for the other choice
        return None
    else:
        minority = min(np.mean(trials.made), 1 - np.mean(trials.made)) if len(trials.made) else 0
        total, what = len(trials.made), "was chosen"
    if total < ENOUGH or minority < OCCURS:
        return None
    never = "negative" if 1 in signs else "positive"
    return (
        f"{task.stimuli[0].name!r} is never {never}, while either side {what} on {minority:.0%} of "
        f"{total} trials or more: it looks like a strength without a side. {remedies.center(task)}"
    )


_OF_SUBJECT: dict[str, Callable[[_Trials, Task], str | None]] = {
    _SIGN: _reversed_sign,
    "one_sided_stimulus": _one_sided,
    "choice_codes": _choice_codes,
    "without_choice": _without_choice,
    "outcome_is_choice": _outcome_is_choice,
    "outcome_constant": _outcome_constant,
}


def _of_all(marked: np.ndarray) -> str:
    return f"{int(marked.sum())} of {len(marked)}"
