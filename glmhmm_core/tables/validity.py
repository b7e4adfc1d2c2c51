"""Tables of whether states can be trusted, keyed by subject and with the names of their states."""

import math
from collections.abc import Sequence

import polars as pl

from glmhmm_core.comparison.recovery import Recovery
from glmhmm_core.fitting.result import SubjectFits
from glmhmm_core.states.naming import Naming

#: Predictive checks that a cohort's table has: of the whole model, so that no names are needed.
OF_COHORT = ("switches_per_session", "switches_variance", "share_switching", "choice_run_mean")

COHORT_CHECK_SCHEMA: dict[str, pl.DataType] = {
    "statistic": pl.String(),
    "subjects": pl.Int64(),
    "data": pl.Float64(),  # mean over subjects
    "simulated": pl.Float64(),  # mean over subjects of the mean over simulations
    "difference": pl.Float64(),  # data less simulated
    "difference_se": pl.Float64(),  # over subjects; null for one
    "below": pl.Int64(),  # subjects whose data lie below the mean of their simulations
    "failing": pl.Int64(),  # subjects whose data lie outside 95 % of their simulations
    "p_value": pl.Float64(),  # two-sided sign test of ``below``
}


def with_states(
    table: pl.DataFrame, fits: SubjectFits, num_states: int, naming: Naming | None = None
) -> pl.DataFrame:
    """Put subject, number of states and the states' names to a table with ``state_idx``.

    Columns ``subject`` and ``num_states`` come first, ``state_rank``, ``state_label``,
    ``state_color`` and ``state_match`` after ``state_idx``; null where no single state is meant.
    """
    labels = (naming or Naming())(fits[num_states], fits.choice_names)
    names = pl.DataFrame(
        {
            "state_idx": range(num_states),
            "state_rank": labels.ranks,
            "state_label": labels.labels,
            "state_color": labels.colors,
            "state_match": pl.Series(labels.shared, dtype=pl.String),
        }
    )
    named = table.join(names, on="state_idx", how="left", maintain_order="left")
    place = table.columns.index("state_idx") + 1
    columns = [*table.columns[:place], *names.columns[1:], *table.columns[place:]]
    return named.select(
        pl.lit(fits.subject).alias("subject"),
        pl.lit(num_states, pl.Int64).alias("num_states"),
        *columns,
    )


def recovery_table(
    recovery: Recovery, fits: SubjectFits, num_states: int, naming: Naming | None = None
) -> pl.DataFrame:
    """One row per simulation and parameter, with what its simulation decoded and the names."""
    table = recovery.parameters.join(recovery.decoding, on="simulation", maintain_order="left")
    return with_states(table, fits, num_states, naming)


def cohort_checks(checks: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Predictive checks over subjects, as ``COHORT_CHECK_SCHEMA``.

    One subject's check may fail by chance, or be passed for want of sessions; that most subjects
    lie on one side of their simulations is not chance.

    Parameters
    ----------
    checks
        ``predictive_checks`` of each subject, with its name.
    """
    everything = pl.concat(checks).drop_nulls("simulated")
    rows = []
    for statistic in OF_COHORT:
        part = everything.filter(statistic=statistic)
        if part.is_empty():
            continue
        difference = part["data"] - part["simulated"]
        deviation = difference.std()
        below = int((difference < 0).sum())
        rows.append(
            {
                "statistic": statistic,
                "subjects": part.height,
                "data": part["data"].mean(),
                "simulated": part["simulated"].mean(),
                "difference": difference.mean(),
                "difference_se": None if deviation is None else deviation / part.height**0.5,
                "below": below,
                "failing": int(part["fails"].sum()),
                "p_value": sign_test(below, int((difference != 0).sum())),
            }
        )
    return pl.DataFrame(rows, schema=COHORT_CHECK_SCHEMA)


def sign_test(successes: int, trials: int) -> float:
    """Two-sided p-value of so many successes in trials of probability one half.

    >>> sign_test(0, 5)
    0.0625
    """
    fewer = min(successes, trials - successes)
    tail = sum(math.comb(trials, k) for k in range(fewer + 1)) / 2**trials
    return min(1.0, 2 * tail)
