"""What the animal does in each state: accuracy and psychometric curves.

Every trial counts in every state, weighted by the smoothed posterior of that state: if the model
holds these means are unbiased, where assigning trials to their most probable state sorts errors
into the biased states. Beside it stand that rule, for comparison with the literature, and the
same rule on the posterior without the trial's own choice, which needs the model to be right about
the states alone. The effective number of trials of weights w is (sum w)^2 / sum w^2 (Kish), and
intervals are Wilson's at that number, 95 %.
"""

import numpy as np
import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.states.labels import StateLabels
from glmhmm_core.states.naming import Naming
from glmhmm_core.tables.own_choice import own_choice_removed
from glmhmm_core.tables.parameters import state_columns
from glmhmm_core.tables.trials import chain_rows

ALL = "all trials"
ALL_COLOR = "#222222"
Z = 1.959964  # 95 %
CERTAIN = 0.9  # posterior from which the literature assigns a trial to a state
MAX_LEVELS = 15  # a stimulus with more values is cut into QUANTILES bins
QUANTILES = 9
GRID = 61  # points of a model curve
NOTHING = 1e-9  # a total weight below this is no trial at all

_STATE = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "state_idx": pl.Int64(),  # null: all trials together
    "state_rank": pl.Int64(),  # -1: all trials together
    "state_label": pl.String(),
    "state_color": pl.String(),
    "state_match": pl.String(),  # name that it shares with other subjects; null: of this one alone
}
ACCURACY_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "accuracy": pl.Float64(),  # weighted by the posterior
    "lower": pl.Float64(),
    "upper": pl.Float64(),
    "effective_trials": pl.Float64(),
    "accuracy_certain": pl.Float64(),  # plain mean over trials with posterior >= 0.9 (biased)
    "certain_trials": pl.Int64(),
    "accuracy_by_others": pl.Float64(),  # the same, certain without the trial's own choice
    "by_others_trials": pl.Int64(),
}
PSYCHOMETRIC_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "class_idx": pl.Int64(),
    "class_name": pl.String(),
    "kind": pl.String(),  # "data", "data_by_others" (not the own choice), or "model": the curve
    "bin": pl.Int64(),  # place along the axis, from 0; data's and curve's are not the same
    "stimulus": pl.Float64(),  # units of the stimulus column
    "probability": pl.Float64(),  # share of choices of the class
    "lower": pl.Float64(),  # data only, of either kind
    "upper": pl.Float64(),
    "effective_trials": pl.Float64(),
    "label_reason": pl.String(),  # why the states' labels are ambiguous; null unless they are
}


def accuracy_table(
    fits: SubjectFits,
    cleaned: pl.DataFrame,
    stimulus_column: str | None,
    naming: Naming | None = None,
) -> pl.DataFrame:
    """Task accuracy by state, as ``ACCURACY_SCHEMA``.

    Over trials with a counted choice and a known outcome, without those whose stimulus is zero
    (at zero the outcome is chance). Null where no such trial is.

    Parameters
    ----------
    fits, cleaned, naming
        As for ``trial_table``.
    stimulus_column
        The task's main stimulus, a column of ``cleaned``; None for a task without one.
    """
    chain = chain_rows(fits, cleaned)
    known = chain["feedback"].is_not_null()
    if stimulus_column is not None:
        known &= (chain[stimulus_column] != 0).fill_null(True)
    correct = (chain["feedback"] > 0).fill_null(False).to_numpy().astype(float)
    rows = []
    for fit in fits.fits:
        use = known.to_numpy() & fit.mask
        labels = (naming or Naming())(fit, fits.choice_names)
        for head, gamma, by_others in _weights(fits.subject, fit, labels):
            w, c = gamma[use], correct[use]
            sorted_by = [
                value
                for sure in (w >= CERTAIN, by_others[use])
                for value in (float(c[sure].mean()) if sure.any() else None, int(sure.sum()))
            ]
            if w.sum() < NOTHING:
                rows.append((*head, None, None, None, 0.0, *sorted_by))
                continue
            mean, n = float(w @ c / w.sum()), _effective(w)
            rows.append((*head, mean, *wilson(mean, n), n, *sorted_by))
    return pl.DataFrame(rows, schema=ACCURACY_SCHEMA, orient="row")


def psychometric_table(
    fits: SubjectFits,
    cleaned: pl.DataFrame,
    stimulus_column: str,
    naming: Naming | None = None,
    among: pl.Expr | None = None,
) -> pl.DataFrame:
    """Share of each choice against the stimulus, by state, as ``PSYCHOMETRIC_SCHEMA``.

    A stimulus of up to 15 values is taken value by value, any other in nine bins of equally
    many trials, placed at their weighted mean. The model's curve is the mean, over the same
    trials with the same weights, of the state's choice probability with the stimulus regressor
    moved along the axis and the other regressors as they were. Where the stimulus regressor is
    not a linear function of the column, the curve stands at the data's points alone, each trial
    with its own regressors. "All trials" is the prediction from the choices before each trial.
    Beside the data of a state stand the trials that all choices but their own put there with a
    probability of at least .9.

    Parameters
    ----------
    fits, cleaned, naming
        As for ``trial_table``.
    stimulus_column
        The task's main stimulus, a column of ``cleaned``.
    among
        Which trials count, of a condition say: ``pl.col("drug") == "saline"``, on the columns of
        ``cleaned``. States, and what precedes a trial, are those of the whole sessions.

    Raises
    ------
    InputError
        If no trial is among these, or no trial's stimulus is known.
    """
    chain = chain_rows(fits, cleaned)
    if chain[stimulus_column].is_null().all():
        raise InputError(
            f"no trial has a known {stimulus_column!r} to draw choices against",
            where=f"subject {fits.subject}",
            remedy="Add the column of the stimulus to the session files, or write stimuli = [] "
            "at the head of the task file.",
        )
    stimulus = chain[stimulus_column].cast(pl.Float64).to_numpy()
    counted = np.zeros(len(stimulus), bool)
    counted[(chain if among is None else chain.filter(among))["row"].to_numpy()] = True
    if not counted.any():
        raise InputError(
            f"no trial where {among}",
            where=f"subject {fits.subject}",
            remedy="Leave the subject out, or correct the condition.",
        )
    name_states = naming or Naming()
    rows: list[tuple] = []
    for fit in fits.fits:
        use = fit.mask & np.isfinite(stimulus) & counted
        if not use.any():
            continue
        place, bins = stimulus[use], _bins(stimulus[use])
        line = _line(fit, place, fit.X[use], name_states.roles.stimulus)
        curves = _curves_along(fit, use, place, line) if line else _curves_at(fit, use, bins)
        labels = name_states(fit, fits.choice_names)
        for head, gamma, by_others in _weights(fits.subject, fit, labels):
            w = gamma[use]
            if w.sum() < NOTHING:
                continue
            data = _data_points(place, fit.y[use], w, bins, fit.num_classes)
            seen = {"data": data}
            if head[2] is not None:
                sure = by_others[use].astype(np.float64)
                fair = _data_points(place, fit.y[use], sure, bins, fit.num_classes)
                seen["data_by_others"] = fair
            grid, curve = curves
            model = curve[fit.num_states if head[2] is None else head[2]]
            if grid is None:
                weighty = np.bincount(bins, w) >= NOTHING
                xs, model = np.array([x for _, x, _ in data]), model[weighty]
            else:
                xs = grid
            doubt = None if head[2] is None else labels.reason or None
            for c, name in enumerate(fits.choice_names):
                rows += [
                    (*head, c, name, kind, b, x, *point[c], doubt)
                    for kind, points in seen.items()
                    for b, x, point in points
                ]
                rows += [
                    (*head, c, name, "model", b, x, p[c], None, None, None, doubt)
                    for b, (x, p) in enumerate(zip(xs, model, strict=True))
                ]
    return pl.DataFrame(rows, schema=PSYCHOMETRIC_SCHEMA, orient="row")


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``n`` (effective) trials."""
    center = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def _effective(w: np.ndarray) -> float:
    return float(w.sum() ** 2 / (w**2).sum())


def _weights(
    subject: str, fit: FitResult, labels: StateLabels
) -> list[tuple[tuple, np.ndarray, np.ndarray]]:
    """Leading columns and trial weights (T,): all trials, then each state in display order.

    With which trials are in it for certain, by all choices but their own, bool (T,).
    """
    by_others = own_choice_removed(fit) >= CERTAIN
    everyone = np.ones(len(fit.y))
    head = (subject, fit.num_states)
    everything = ((*head, None, -1, ALL, ALL_COLOR, ALL), everyone, everyone > 0)
    return [
        everything,
        *(
            (
                (*head, *state_columns(labels, k)),
                fit.smoothed_state_probs[:, k],
                by_others[:, k],
            )
            for k in labels.order
        ),
    ]


def _bins(stimulus: np.ndarray) -> np.ndarray:
    """Bin of each trial, integers from 0."""
    levels, level = np.unique(stimulus, return_inverse=True)
    if len(levels) <= MAX_LEVELS:
        return level
    edges = np.unique(np.quantile(stimulus, np.linspace(0, 1, QUANTILES + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, stimulus, side="right"), return_inverse=True)[1]


def _data_points(
    stimulus: np.ndarray, y: np.ndarray, w: np.ndarray, bins: np.ndarray, num_classes: int
) -> list[tuple[int, float, list[tuple[float, float, float, float]]]]:
    """(bin, place, [(share, lower, upper, effective trials) by class]) of every bin with weight."""
    points = []
    for b in range(bins.max() + 1):
        here = bins == b
        if w[here].sum() < NOTHING:
            continue
        n = _effective(w[here])
        shares = (np.bincount(y[here], w[here], num_classes) / w[here].sum()).clip(0, 1)
        low, high = stimulus[here].min(), stimulus[here].max()
        place = float(np.clip(stimulus[here] @ w[here] / w[here].sum(), low, high))
        points.append((b, place, [(float(p), *wilson(float(p), n), n) for p in shares]))
    return points


def _line(
    fit: FitResult, stimulus: np.ndarray, X: np.ndarray, feature: str
) -> tuple[int, float, float] | None:
    """Column, slope and level of the stimulus regressor as a function of the stimulus."""
    if feature not in fit.emission_names or len(np.unique(stimulus)) < 2:
        return None
    column = fit.emission_names.index(feature)
    slope, level = np.polyfit(stimulus, X[:, column], 1)
    off = np.abs(X[:, column] - slope * stimulus - level).max()
    return (column, float(slope), float(level)) if off < 1e-6 * X[:, column].std() else None


def _curves_along(
    fit: FitResult, use: np.ndarray, stimulus: np.ndarray, line: tuple[int, float, float]
) -> tuple[np.ndarray | None, np.ndarray]:
    """Grid (G,), and the model's curves on it (K + 1, G, C): states, then all trials."""
    column, slope, level = line
    grid = np.linspace(stimulus.min(), stimulus.max(), GRID)
    gamma, belief = fit.smoothed_state_probs[use].T, fit.predictive_state_probs[use].T
    still = fit.X[use].copy()
    still[:, column] = 0.0
    curves = np.zeros((fit.num_states + 1, GRID, fit.num_classes))
    for k in range(fit.num_states):
        base = _logits(fit, still, k)
        step = _logits(fit, np.eye(fit.X.shape[1])[[column]], k)
        for g, s in enumerate(grid):
            law = _softmax(base + step * (slope * s + level))
            curves[k, g] = law @ gamma[k] / max(gamma[k].sum(), NOTHING)
            curves[-1, g] += law @ belief[k] / len(stimulus)
    return grid, curves


def _curves_at(
    fit: FitResult, use: np.ndarray, bins: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """The same at the data's bins, each trial with its own regressors; no grid of its own."""
    gamma, belief = fit.smoothed_state_probs[use].T, fit.predictive_state_probs[use].T
    curves = np.zeros((fit.num_states + 1, bins.max() + 1, fit.num_classes))
    laws = [_softmax(_logits(fit, fit.X[use], k)) for k in range(fit.num_states)]
    for b in range(bins.max() + 1):
        here = bins == b
        for k, law in enumerate(laws):
            total = max(gamma[k, here].sum(), NOTHING)
            curves[k, b] = law[:, here] @ gamma[k, here] / total
            curves[-1, b] += law[:, here] @ belief[k, here] / here.sum()
    return None, curves


def _logits(fit: FitResult, X: np.ndarray, state: int) -> np.ndarray:
    """Logits of all classes in one state, shape (C, T)."""
    weights = np.asarray(fit.fitted_params.emission_weights)[state]
    return np.insert(weights @ X.T, fit.baseline_class_idx, 0.0, axis=0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(0))
    return odds / odds.sum(0)
