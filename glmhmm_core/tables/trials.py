"""The trial table: what a subject did on every trial, and what each model makes of it."""

import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.decode import most_likely_states
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.states.naming import Naming

_KEY = ["session", "trial"]


def trial_table(
    fits: SubjectFits, cleaned: pl.DataFrame, naming: Naming | None = None
) -> pl.DataFrame:
    """One row per trial of the chain and number of states, joined by key.

    Parameters
    ----------
    fits
        Models of one subject.
    cleaned
        Cleaned trial table that the models' design was built from, rows in any order; other
        subjects and trials outside the chain are passed over.
    naming
        Names the states; by themselves if not given.

    Returns
    -------
    DataFrame with the keys subject, session, trial, num_states; the behavioral columns of
    ``cleaned``; ``correct`` (rewarded; null where unknown or nothing was chosen);
    ``state_idx``, ``state_rank``, ``state_label`` of the trial's most probable state given all
    choices; ``state_viterbi``, its state on the most probable path through the session;
    ``p_state_<k>`` the smoothed state probabilities and ``p_state_pred_<k>`` those given the
    choices before the trial (k from 0, null for k beyond the model's states);
    ``p_choice_<name>`` the probability of each choice given those before. Rows by number of
    states, then in the order of the fits.

    Raises
    ------
    InputError
        If the chain of ``cleaned`` and the rows of the fits are not the same trials.
    """
    behavior = chain_rows(fits, cleaned).drop("row", "in_chain", strict=False)
    chosen = pl.col("choice").is_not_null()
    behavior = behavior.with_columns(correct=pl.when(chosen).then(pl.col("feedback") > 0))
    largest = max(fit.num_states for fit in fits.fits)
    parts = [_with_model(behavior, fits, fit, largest, naming) for fit in fits.fits]
    first = ["subject", *_KEY, "num_states"]
    return pl.concat(parts).select(*first, pl.exclude(first))


def chain_rows(fits: SubjectFits, cleaned: pl.DataFrame) -> pl.DataFrame:
    """Rows of the cleaned table that the fits were made on, in the order of the fits.

    Sessions that the fits never saw are left out: a refit with them may be held for review.

    Raises
    ------
    InputError
        If the chain of ``cleaned`` and the rows of the fits are not the same trials of the
        fits' sessions.
    """
    keys = pl.DataFrame({"session": fits.keys_session, "trial": fits.keys_trial})
    keys = keys.cast({"session": pl.String, "trial": pl.Int64}).with_row_index("row")
    seen = pl.col("session").is_in(keys["session"].unique().to_list())
    chain = cleaned.filter(pl.col("subject") == fits.subject, pl.col("in_chain"), seen)
    joined = keys.join(chain, on=_KEY, how="inner").sort("row")
    if not joined.height == keys.height == chain.height:
        raise InputError(
            f"{chain.height} trials in the table, {keys.height} in the fits, "
            f"{joined.height} in both",
            where=f"subject {fits.subject}",
            remedy="Give the cleaned trials that these models were fitted to",
        )
    return joined


def _with_model(
    behavior: pl.DataFrame,
    fits: SubjectFits,
    fit: FitResult,
    largest: int,
    naming: Naming | None,
) -> pl.DataFrame:
    labels = (naming or Naming())(fit, fits.choice_names)
    by_state = pl.DataFrame(
        {"state_idx": range(fit.num_states), "r": labels.ranks, "l": labels.labels}
    )
    decoded = pl.Series("state_idx", fit.smoothed_state_probs.argmax(1), dtype=pl.Int64)
    named = decoded.to_frame().join(by_state, on="state_idx", how="left", maintain_order="left")
    columns: dict[str, pl.Series | pl.Expr] = {
        "state_idx": decoded,
        "state_rank": named["r"],
        "state_label": named["l"],
        "state_viterbi": pl.Series(most_likely_states(fit), dtype=pl.Int64),
    }
    for prefix, probs in (
        ("p_state_", fit.smoothed_state_probs),
        ("p_state_pred_", fit.predictive_state_probs),
    ):
        for k in range(largest):
            columns[f"{prefix}{k}"] = (
                pl.Series(probs[:, k]) if k < fit.num_states else pl.lit(None, pl.Float64)
            )
    for c, name in enumerate(fits.choice_names):
        columns[f"p_choice_{name}"] = pl.Series(fit.choice_probs[:, c])
    return behavior.with_columns(pl.lit(fit.num_states, pl.Int64).alias("num_states"), **columns)
