"""How many states: the rule, stated before the scores are looked at, and the table that says why.

The number chosen is the smallest whose next state gains less than ``min_gain`` held-out bits per
trial, or less than ``min_errors`` paired standard errors over subjects. The best score would
choose too many: with enough trials ever smaller regularities are worth another state. A number
of states whose typical fit has a state that is hardly ever visited, or left at once, is not
reached at all. AIC and BIC stand in the table and take no part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from glmhmm_core.comparison.paired import PairedGains, paired_gains
from glmhmm_core.comparison.score_tables import (
    LEFT_OUT_SCHEMA,
    keyed,
    traits_of,
    usable_scores,
    wide,
)
from glmhmm_core.errors import InputError

SELECTION_SCHEMA: dict[str, pl.DataType] = {
    "num_states": pl.Int64(),
    "unit": pl.String(),  # what errors are taken over: "subject" or "session"
    "units": pl.Int64(),  # with a usable score
    "heldout_bits_per_trial": pl.Float64(),  # mean over subjects, or over a subject's trials
    "next_num_states": pl.Int64(),  # the next larger number that was fitted; null for the last
    "paired_units": pl.Int64(),  # with a usable score at both numbers
    "next_gain": pl.Float64(),  # bits per trial over those, paired
    "next_gain_se": pl.Float64(),  # paired standard error over units
    "next_gain_lower": pl.Float64(),  # 95 % interval, bootstrap over units
    "next_gain_upper": pl.Float64(),
    "units_gaining": pl.Int64(),  # of the paired ones
    "next_gains_enough": pl.Boolean(),  # min_gain and min_errors are both met
    "min_occupancy": pl.Float64(),  # of the rarest state, median over subjects
    "min_dwell": pl.Float64(),  # of the shortest state, trials, median over subjects
    "floors_met": pl.Boolean(),
    "aic": pl.Float64(),  # mean over subjects; takes no part
    "bic": pl.Float64(),
    "chosen": pl.Boolean(),
    "chosen_share": pl.Float64(),  # of the bootstrap's resamples
    "why": pl.String(),
}


@dataclass(frozen=True)
class SelectionRule:
    """When another state is worth it; to be stated before the run.

    Attributes
    ----------
    min_gain
        Held-out bits per trial that each added state must gain at least.
    min_errors
        Paired standard errors that the gain must be at least.
    min_occupancy, min_dwell
        Floors: share of trials of the rarest state, and expected stay in trials of the shortest,
        in the median subject. A cohort's number of states is below the first that fails them.
    resamples, seed
        Of the bootstrap over units.
    """

    min_gain: float = 0.01
    min_errors: float = 2.0
    min_occupancy: float = 0.05
    min_dwell: float = 3.0
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Selection:
    """A number of states and the reasons for it.

    Attributes
    ----------
    num_states
        What the rule chooses.
    exploratory
        True for a subject's own number: errors over one subject's sessions say nothing of
        other subjects, nor of other weeks.
    at_limit
        Whether the largest number fitted was reached: then it is a bound and not a choice.
    reason
        Why, in sentences.
    table : as ``SELECTION_SCHEMA``, one row per number of states.
    left_out : as ``LEFT_OUT_SCHEMA``
        Scores that were not used.
    rule
        The rule.
    """

    num_states: int
    exploratory: bool
    at_limit: bool
    reason: str
    table: pl.DataFrame
    left_out: pl.DataFrame
    rule: SelectionRule


def choose_for_cohort(scores: pl.DataFrame, rule: SelectionRule | None = None) -> Selection:
    """Choose a cohort's number of states from held-out scores.

    Subjects count alike: gains are means over subjects, each subject's score being over all its
    held-out trials. A subject without a score at one number is missing from that step alone.

    Parameters
    ----------
    scores
        One row per subject and number of states: ``subject``, ``num_states``,
        ``heldout_bits_per_trial``; further columns are used if they are there: ``converged``
        (a fit that is not is left out), ``min_occupancy`` and ``min_dwell`` for the floors,
        ``aic`` and ``bic``, ``excluded`` (why a subject has no model). The cohort summary of the
        tables has them all.
    rule
        Default: :class:`SelectionRule`.

    Raises
    ------
    InputError
        If columns are missing or keys occur twice, or fewer than two subjects, or fewer than
        two numbers of states, have scores.
    """
    rule = _checked(rule or SelectionRule())
    scores = keyed(scores, ["subject", "num_states"], ["heldout_bits_per_trial"])
    usable, left_out = usable_scores(scores)
    table = wide(usable, "subject", "heldout_bits_per_trial")
    if len(table.numbers) < 2 or len(table.values) < 2:
        raise InputError(
            f"{len(table.values)} subjects and {len(table.numbers)} numbers of states have scores",
            where="choosing the number of states",
            remedy="Give held-out scores of two subjects and two models at least; for a single "
            "subject there is its own exploratory choice.",
        )
    traits = traits_of(usable, table.numbers)
    steps = paired_gains(table.values, np.ones(len(table.values)), rule.resamples, rule.seed)
    return _select(table.numbers, steps, traits, "subject", rule, left_out)


def choose_for_subject(
    scores: pl.DataFrame, rule: SelectionRule | None = None, states: pl.DataFrame | None = None
) -> Selection:
    """Choose one subject's number of states from its held-out sessions; exploratory.

    The gain is over all held-out trials, and its error that of a ratio of sums over sessions.

    Parameters
    ----------
    scores
        One row per session and number of states: ``subject``, ``num_states``, ``session``,
        ``num_choices``, ``heldout_log_likelihood`` (nats, of the session while it was held out).
        Sessions without a choice are passed over.
    rule
        Default: :class:`SelectionRule`.
    states
        The subject's rows of what :func:`choose_for_cohort` takes, for floors and criteria.

    Raises
    ------
    InputError
        If columns are missing, keys occur twice, or several subjects, fewer than two sessions
        or fewer than two numbers of states are given, or numbers of choices disagree.
    """
    rule = _checked(rule or SelectionRule())
    needed = ["heldout_log_likelihood", "num_choices"]
    scores = keyed(scores, ["subject", "session", "num_states"], needed)
    usable = scores.filter(
        pl.col("num_choices") > 0, pl.col("heldout_log_likelihood").is_finite()
    ).with_columns(bits=pl.col("heldout_log_likelihood") / math.log(2))
    table = wide(usable, "session", "bits")
    sizes = usable.group_by("session").agg(
        pl.col("num_choices").first(), pl.col("num_choices").n_unique().alias("n")
    )
    if (
        len(table.numbers) < 2
        or len(table.values) < 2
        or usable["subject"].n_unique() != 1
        or (sizes["n"] > 1).any()
    ):
        raise InputError(
            f"{usable['subject'].n_unique()} subjects, {len(table.values)} sessions, "
            f"{len(table.numbers)} numbers of states, {(sizes['n'] > 1).sum()} sessions whose "
            "numbers of choices disagree",
            where="choosing a subject's number of states",
            remedy="Give the same sessions of one subject for every model, two of each at least.",
        )
    sizes = pl.DataFrame({"session": table.units}).join(
        sizes, on="session", how="left", maintain_order="left"
    )
    traits = traits_of(states, table.numbers)
    steps = paired_gains(
        table.values,
        sizes["num_choices"].to_numpy().astype(np.float64),
        rule.resamples,
        rule.seed,
    )
    return _select(
        table.numbers, steps, traits, "session", rule, pl.DataFrame(schema=LEFT_OUT_SCHEMA)
    )


def choose_over_splits(
    splits: Sequence[pl.DataFrame], rule: SelectionRule | None = None
) -> pl.DataFrame:
    """Say how the cohort's choice depends on how sessions were dealt into folds.

    Parameters
    ----------
    splits
        Scores as for :func:`choose_for_cohort`, from fits that differ in their folds alone.

    Returns
    -------
    DataFrame with ``split``, ``num_states``, ``at_limit`` and ``reason``, a row per split.
    """
    chosen = [choose_for_cohort(scores, rule) for scores in splits]
    rows = [(i, c.num_states, c.at_limit, c.reason) for i, c in enumerate(chosen)]
    schema = {
        "split": pl.Int64,
        "num_states": pl.Int64,
        "at_limit": pl.Boolean,
        "reason": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _checked(rule: SelectionRule) -> SelectionRule:
    for name in ("min_gain", "min_errors", "min_occupancy", "min_dwell"):
        if not 0 <= getattr(rule, name) < math.inf:
            raise InputError(
                f"{name} is {getattr(rule, name)}",
                where="selection rule",
                remedy="Give a finite number of at least 0.",
            )
    if rule.resamples < 1:
        raise InputError(
            f"resamples is {rule.resamples}",
            where="selection rule",
            remedy="Give a number of at least 1.",
        )
    return rule


def _enough(
    gain: np.ndarray, error: np.ndarray, numbers: list[int], rule: SelectionRule
) -> np.ndarray:
    """Whether each step gains enough; what cannot be told (NaN) does not."""
    added = np.diff(numbers)
    # A rounding error above nothing is no gain, however small its own error.
    slack = 1e-12
    return (gain >= rule.min_gain * added - slack) & (gain >= rule.min_errors * error - slack)


def _first_stop(enough: np.ndarray, floors: np.ndarray) -> np.ndarray:
    """Index of the number of states at which each row's (R, numbers - 1) climb ends."""
    goes_on = enough & floors[None, 1:]
    return np.where(goes_on.all(1), goes_on.shape[1], (~goes_on).argmax(1))


def _select(
    numbers: list[int],
    steps: PairedGains,
    traits: pl.DataFrame,
    unit: str,
    rule: SelectionRule,
    left_out: pl.DataFrame,
) -> Selection:
    floors = np.array([_floors_met(row, rule) for row in traits.iter_rows(named=True)])
    enough = _enough(steps.gain, steps.error, numbers, rule)
    stop = int(_first_stop(enough[None], floors)[0])
    again = _first_stop(_enough(steps.resampled, steps.resampled_error, numbers, rule), floors)
    share = np.bincount(again, minlength=len(numbers)) / rule.resamples
    spread = steps.intervals()
    why = [_why(i, numbers, steps, enough, floors, traits, rule) for i in range(len(numbers))]
    rows = []
    for i, number in enumerate(numbers):
        last = i == len(numbers) - 1
        step: tuple = (None,) * 8
        if not last:
            step = (
                *(numbers[i + 1], steps.paired[i], _number(steps.gain[i])),
                *(_number(steps.error[i]), *map(_number, spread[i])),
                *(steps.gaining[i], bool(enough[i])),
            )
        trait = traits.row(i, named=True)
        rows.append(
            (
                *(number, unit, steps.units[i], _number(steps.score[i]), *step),
                *(trait["min_occupancy"], trait["min_dwell"], bool(floors[i])),
                *(trait["aic"], trait["bic"], i == stop, float(share[i]), why[i]),
            )
        )
    table = pl.DataFrame(rows, schema=SELECTION_SCHEMA, orient="row")
    at_limit = stop == len(numbers) - 1
    reason = why[stop]
    later = [numbers[i + 1] for i in range(stop + 1, len(numbers) - 1) if enough[i]]
    if later:
        reason += f" A later step, to {later[0]} states, would gain enough again."
    if unit == "session":
        reason += " Exploratory: one subject's own sessions."
    return Selection(numbers[stop], unit == "session", at_limit, reason, table, left_out, rule)


def _floors_met(row: dict, rule: SelectionRule) -> bool:
    """Whether the typical fit's states are all visited; one state needs no floor."""
    if row["num_states"] == 1:
        return True
    occupancy, dwell = row["min_occupancy"], row["min_dwell"]
    return (occupancy is None or occupancy >= rule.min_occupancy) and (
        dwell is None or dwell >= rule.min_dwell
    )


def _why(
    i: int,
    numbers: list[int],
    steps: PairedGains,
    enough: np.ndarray,
    floors: np.ndarray,
    traits: pl.DataFrame,
    rule: SelectionRule,
) -> str:
    """What the step from one number of states to the next says, as a sentence."""
    if i == len(numbers) - 1:
        return f"{numbers[i]} states are the most that were fitted."
    after, added = numbers[i + 1], numbers[i + 1] - numbers[i]
    gain, error = steps.gain[i], steps.error[i]
    said = f"Going to {after} gains {gain:.4f} bits per trial (SE {error:.4f})"
    if not np.isfinite(error):
        return f"Going to {after} cannot be judged: {steps.paired[i]} scores at both."
    if not enough[i]:
        if gain < rule.min_gain * added:
            return f"{said}, less than {rule.min_gain * added:g}."
        return f"{said}, less than {rule.min_errors:g} standard errors."
    if not floors[i + 1]:
        row = traits.row(i + 1, named=True)
        parts = [("rarest", "occupancy", "min_occupancy"), ("shortest", "dwell", "min_dwell")]
        below = [
            f"its {which} state's {what} is {row[name]:.3g}, below {getattr(rule, name):g}"
            for which, what, name in parts
            if row[name] is not None and row[name] < getattr(rule, name)
        ]
        return f"{said}, but in the median subject {' and '.join(below)}."
    return f"{said}: enough."


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
