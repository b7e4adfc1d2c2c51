"""Tables of a subject's parameters: weights, transitions, and one row per state.

Long form, one row per number; keys are (subject, num_states, state). ``state_rank`` is the
state's place in the display order, ``state_label`` and ``state_color`` are those of
``glmhmm_core.states``, and ``state_match`` is the name under which it is pooled over subjects.
Where transitions have regressors, transition probabilities and dwell are those at the regressors'
zero.
"""

import numpy as np
import polars as pl

from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.states.labels import StateLabels
from glmhmm_core.states.naming import Naming

_STATE = {
    "state_idx": pl.Int64(),
    "state_rank": pl.Int64(),
    "state_label": pl.String(),
    "state_color": pl.String(),
    "state_match": pl.String(),  # name that it shares with other subjects; null: of this one alone
}
WEIGHT_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    **_STATE,
    "class_idx": pl.Int64(),
    "class_name": pl.String(),
    "baseline_class_idx": pl.Int64(),
    "baseline_class_name": pl.String(),
    "feature_idx": pl.Int64(),  # place of the feature in the design
    "feature": pl.String(),
    "weight": pl.Float64(),  # log-odds of the class over the baseline, per unit of the feature
    "label_reason": pl.String(),  # why the model's labels are ambiguous; null unless they are
}
TRANSITION_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "source_idx": pl.Int64(),  # null: the start of a session
    "source_rank": pl.Int64(),
    "source_label": pl.String(),
    "source_color": pl.String(),
    "source_match": pl.String(),
    "target_idx": pl.Int64(),
    "target_rank": pl.Int64(),
    "target_label": pl.String(),
    "target_color": pl.String(),
    "target_match": pl.String(),
    "probability": pl.Float64(),
    # Expected stay in the source, trials, as if sessions had no end; null if never left.
    "source_dwell": pl.Float64(),
    "session_trials": pl.Float64(),  # median length of the subject's sessions
}
STATE_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    **_STATE,
    "initial_prob": pl.Float64(),
    "self_transition": pl.Float64(),
    # 1 / (1 - self_transition), trials, as if sessions had no end; null if never left.
    "expected_dwell": pl.Float64(),
    "session_trials": pl.Float64(),  # median length of the subject's sessions
    "occupancy_soft": pl.Float64(),  # mean smoothed posterior over all trials
    "occupancy_hard": pl.Float64(),  # share of trials on which it is the most probable state
    "labels_ambiguous": pl.Boolean(),  # of the whole model
    "label_reason": pl.String(),  # why; null unless ambiguous
}
START = "session start"


def with_intervals(weights: pl.DataFrame, errors: pl.DataFrame | None) -> pl.DataFrame:
    """Weights with the 95 % intervals of the model that ``errors`` is about.

    Parameters
    ----------
    weights
        ``weight_table`` of one subject.
    errors
        As ``UNCERTAINTY_SCHEMA``, of one of its models; None if there are none.

    Returns
    -------
    DataFrame
        ``weights`` with columns ``lower`` and ``upper``, null where nothing is known, as of a
        weight that is not the one that ``errors`` estimates.
    """
    if errors is None:
        nothing = pl.lit(None, pl.Float64)
        return weights.with_columns(lower=nothing, upper=nothing)
    key = ["state_idx", "class_idx", "feature"]
    known = errors.filter(parameter="weight").select(*key, "estimate", "lower", "upper")
    same = (pl.col("weight") - pl.col("estimate")).abs() <= 1e-9 * (1 + pl.col("weight").abs())
    return (
        weights.join(known, on=key, how="left", maintain_order="left")
        .with_columns(pl.when(same).then(pl.col("lower", "upper")))
        .drop("estimate")
    )


def weight_table(fits: SubjectFits, naming: Naming | None = None) -> pl.DataFrame:
    """Every emission weight of every model of a subject, as ``WEIGHT_SCHEMA``.

    Rows by number of states, display order of states, class, feature.
    """
    name = naming or Naming()
    rows = []
    for fit in fits.fits:
        labels = name(fit, fits.choice_names)
        baseline = fit.baseline_class_idx
        classes = [c for c in range(fit.num_classes) if c != baseline]
        weights = np.asarray(fit.fitted_params.emission_weights)
        rows += [
            (
                *(fits.subject, fit.num_states, *state_columns(labels, k)),
                *(c, fits.choice_names[c], baseline, fits.choice_names[baseline]),
                *(column, feature, weights[k, row, column], labels.reason or None),
            )
            for k in labels.order
            for row, c in enumerate(classes)
            for column, feature in enumerate(fit.emission_names)
        ]
    return pl.DataFrame(rows, schema=WEIGHT_SCHEMA, orient="row")


def transition_table(fits: SubjectFits, naming: Naming | None = None) -> pl.DataFrame:
    """Every transition probability of a subject's models, as ``TRANSITION_SCHEMA``.

    The law of a session's first state is the rows whose source is "session start".
    """
    name = naming or Naming()
    rows: list[tuple] = []
    for fit in fits.fits:
        labels = name(fit, fits.choice_names)
        initial = np.asarray(fit.fitted_params.initial_probs)
        matrix = np.asarray(fit.fitted_params.transition_matrix)
        dwell, trials = _dwell(matrix), session_trials(fit)
        head = (fits.subject, fit.num_states)
        rows += [
            (
                *head,
                None,
                None,
                START,
                None,
                None,
                *state_columns(labels, j),
                initial[j],
                None,
                trials,
            )
            for j in labels.order
        ]
        rows += [
            (
                *head,
                *state_columns(labels, i),
                *state_columns(labels, j),
                matrix[i, j],
                dwell[i],
                trials,
            )
            for i in labels.order
            for j in labels.order
        ]
    return pl.DataFrame(rows, schema=TRANSITION_SCHEMA, orient="row")


def state_table(fits: SubjectFits, naming: Naming | None = None) -> pl.DataFrame:
    """One row per state of every model of a subject, as ``STATE_SCHEMA``."""
    name = naming or Naming()
    rows = []
    for fit in fits.fits:
        labels = name(fit, fits.choice_names)
        initial = np.asarray(fit.fitted_params.initial_probs)
        matrix = np.asarray(fit.fitted_params.transition_matrix)
        dwell = _dwell(matrix)
        soft = fit.smoothed_state_probs.mean(0)
        decoded = fit.smoothed_state_probs.argmax(1)
        hard = np.bincount(decoded, minlength=fit.num_states) / len(decoded)
        rows += [
            (
                *(fits.subject, fit.num_states, *state_columns(labels, k)),
                *(initial[k], matrix[k, k], dwell[k], session_trials(fit), soft[k], hard[k]),
                *(labels.ambiguous, labels.reason or None),
            )
            for k in labels.order
        ]
    return pl.DataFrame(rows, schema=STATE_SCHEMA, orient="row")


def state_columns(labels: StateLabels, state: int) -> tuple[int, int, str, str, str | None]:
    """Columns that name a state: index, rank, label, color and the name that subjects share."""
    name, color = labels.labels[state], labels.colors[state]
    return state, labels.ranks[state], name, color, labels.shared[state]


def session_trials(fit: FitResult) -> float:
    """Median number of trials in a session."""
    return float(np.median(np.unique(fit.session_ids, return_counts=True)[1]))


def _dwell(matrix: np.ndarray) -> list[float | None]:
    stay = np.diag(matrix)
    return [float(1 / (1 - p)) if p < 1 else None for p in stay]
