"""Fits made from known parameters, without the engine: the oracles' recursions on simulated trials.

What is made here has the shape of a real fit; the optimization's history and the folds' scores
are invented, plausibly.
"""

from dataclasses import replace

import numpy as np
import polars as pl
from core.oracles import Trials, by_recursion, class_probs

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.result import CVFoldResult, FitResult, SubjectFits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification

FEATURES = ("stimulus", "bias", "previous_choice", "wsls")
CONTRASTS = np.array([-1, -0.25, -0.125, -0.0625, 0, 0.0625, 0.125, 0.25, 1])
SCALE = 2.0943

#: Published three-state parameters (International Brain Laboratory's mice), in the order
#: engaged, biased left, biased right.
IBL = Parameters(
    initial_probs=np.array([0.592, 0.193, 0.215]),
    transition_matrix=np.array(
        [[0.9743, 0.0142, 0.0115], [0.0475, 0.9479, 0.0046], [0.0453, 0.0029, 0.9518]]
    ),
    emission_weights=np.array(
        [
            [[7.206, -0.144, 0.312, 0.002]],
            [[1.226, -1.707, 0.361, 0.180]],
            [[1.206, 1.626, 0.321, 0.199]],
        ]
    ),
)


def permuted(params: Parameters, order: list[int]) -> Parameters:
    """The same model with its states numbered otherwise: new state i was ``order[i]``."""
    return Parameters(
        params.initial_probs[order],
        params.transition_matrix[np.ix_(order, order)],
        params.emission_weights[order],
    )


def simulate(
    params: Parameters,
    n_sessions: int,
    n_trials: int | np.ndarray,
    seed: int = 0,
    *,
    choice_names: tuple[str, ...] = ("left", "right"),
    missing: float = 0.002,
    subject: str = "mouse",
) -> tuple[pl.DataFrame, np.ndarray]:
    """Trials of one subject with history fed back, and the true states.

    The table has the columns of a cleaned trial table and, for building fits, the regressors.
    """
    rng = np.random.default_rng(seed)
    num_states, num_classes = len(params.initial_probs), len(choice_names)
    lengths = np.broadcast_to(n_trials, n_sessions)
    rows, states = [], []
    for number, length in enumerate(lengths):
        state = rng.choice(num_states, p=params.initial_probs)
        previous, won = 0.0, 0.0
        for trial in range(int(length)):
            if trial:
                state = rng.choice(num_states, p=params.transition_matrix[state])
            contrast = rng.choice(CONTRASTS)
            x = np.array([SCALE * contrast, 1.0, previous, won])
            odds = np.exp([0.0, *(params.emission_weights[state] @ x)])
            choice = int(rng.choice(num_classes, p=odds / odds.sum()))
            made = rng.random() >= missing
            right_side = contrast > 0 or (contrast == 0 and rng.random() < 0.5)
            feedback = 1 if choice == (num_classes - 1 if right_side else 0) else -1
            rows.append(
                {
                    "subject": subject,
                    "session": f"2019-{1 + number // 28:02d}-{1 + number % 28:02d}_001",
                    "trial": trial,
                    "choice": choice if made else None,
                    "feedback": feedback if made else -1,
                    "response_time": float(rng.lognormal(-0.7, 0.5)),
                    "block": 0.5,
                    "contrast": float(contrast),
                    "in_chain": True,
                    "masked": False,
                    **dict(zip(FEATURES, x.tolist(), strict=True)),
                }
            )
            states.append(state)
            if made:
                previous = 2.0 * (choice == num_classes - 1) - 1.0
                won = previous * feedback
    schema = {"choice": pl.Int8, "feedback": pl.Int8}
    return pl.DataFrame(rows, schema_overrides=schema), np.array(states)


def make_fit(
    trials: pl.DataFrame,
    params: Parameters,
    *,
    baseline: int = 0,
    num_classes: int = 2,
    features: tuple[str, ...] = FEATURES,
    n_restarts: int = 20,
    n_folds: int = 5,
    seed: int = 0,
) -> FitResult:
    """A fit that ended at ``params`` on these trials."""
    rng = np.random.default_rng(seed)
    num_states = len(params.initial_probs)
    X = trials.select(FEATURES).to_numpy()[:, : params.emission_weights.shape[-1]]
    y = trials["choice"].fill_null(-1).to_numpy().astype(np.int64)
    mask = y >= 0
    session_ids = trials["session"].to_numpy()
    rows = Trials(X, np.empty((len(y), 0)), y, session_ids, num_classes, baseline)
    known = by_recursion(params, rows)
    smoothed, predicted, total = known.smoothed, known.predicted, float(known.log_likelihood)
    choice_probs = np.einsum("tk,tkc->tc", predicted, class_probs(params, rows))
    traces, iterations, converged = _history(rng, total, num_states, n_restarts)
    ends = traces[np.arange(n_restarts), iterations]
    best = int(ends.argmax())
    return FitResult(
        fitted_params=params,
        log_probability=traces[best, : iterations[best] + 1],
        best_restart=best,
        restart_log_probability=traces,
        restart_objectives=ends,
        restart_iterations=iterations,
        restart_converged=converged,
        y=y,
        X=X,
        U=np.empty((len(y), 0)),
        mask=mask,
        session_ids=session_ids,
        smoothed_state_probs=smoothed,
        predictive_state_probs=predicted,
        choice_probs=choice_probs,
        raw_log_likelihood=total,
        accuracy=float((choice_probs.argmax(1) == y)[mask].mean()),
        num_states=num_states,
        baseline_class_idx=baseline,
        specification=Specification(num_classes, features, np.full(len(features), 2.0)),
        settings=FitSettings(n_restarts=n_restarts, cv_folds=n_folds),
        cv_metrics=_folds(
            params, session_ids, mask, total / mask.sum(), n_folds, 10 * seed + num_states
        ),
    )


def make_subject(
    trials: pl.DataFrame,
    models: list[Parameters],
    *,
    subject: str = "mouse",
    choice_names: tuple[str, ...] = ("left", "right"),
    **options: object,
) -> SubjectFits:
    """Fits of several models to the same trials."""
    fits = [make_fit(trials, m, num_classes=len(choice_names), **options) for m in models]
    return SubjectFits(
        subject=subject,
        fingerprint="0" * 16,
        choice_names=choice_names,
        keys_session=trials["session"].to_numpy(),
        keys_trial=trials["trial"].to_numpy(),
        fits=tuple(fits),
    )


def shuffled(fits: SubjectFits, seed: int = 0) -> SubjectFits:
    """The same fits with their rows in another order."""
    order = np.random.default_rng(seed).permutation(len(fits.keys_trial))
    per_row = ["y", "X", "U", "mask", "session_ids", "choice_probs"]
    per_row += ["smoothed_state_probs", "predictive_state_probs"]
    moved = [replace(f, **{name: getattr(f, name)[order] for name in per_row}) for f in fits.fits]
    return replace(
        fits,
        keys_session=fits.keys_session[order],
        keys_trial=fits.keys_trial[order],
        fits=tuple(moved),
    )


def simpler(params: Parameters, num_states: int, seed: int = 0) -> Parameters:
    """A plausible model of another number of states, for fits whose quality does not matter."""
    rng = np.random.default_rng(seed)
    weights = params.emission_weights
    if num_states == 1:
        return Parameters(np.ones(1), np.ones((1, 1)), weights.mean(0, keepdims=True))
    pick = np.arange(num_states) % len(weights)
    noise = rng.normal(0, 0.6, (num_states, *weights.shape[1:])) * (
        np.arange(num_states) >= len(weights)
    ).reshape(-1, 1, 1)
    stay = rng.uniform(0.88, 0.98, num_states)
    off = rng.dirichlet(np.ones(num_states - 1) * 3, num_states) * (1 - stay)[:, None]
    matrix = np.diag(stay)
    matrix[~np.eye(num_states, dtype=bool)] = off.ravel()
    return Parameters(rng.dirichlet(np.ones(num_states) * 3), matrix, weights[pick] + noise)


def _history(
    rng: np.random.Generator, objective: float, num_states: int, n_restarts: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rising traces of restarts: most end at the best, some in other optima, one too early."""
    ends = objective - np.where(rng.random(n_restarts) < 0.65, 0, rng.uniform(2, 80, n_restarts))
    ends[rng.integers(n_restarts)] = objective
    if num_states == 1:
        ends[:] = objective
    iterations = rng.integers(6, 9, n_restarts)
    if num_states > 1:
        iterations = (rng.lognormal(4.4, 0.5, n_restarts) * np.sqrt(num_states / 2)).astype(int)
    traces = np.full((n_restarts, iterations.max() + 1), np.nan)
    for i, length in enumerate(iterations):
        step = np.arange(length + 1)
        start, slow = rng.uniform(300, 2500), rng.uniform(5, 60)
        fast = np.exp(-step * 3 / max(length / 8, 1))
        tail = np.exp(-step * 16 / length)
        traces[i, : length + 1] = ends[i] - start * fast - slow * tail
        traces[i, length] = ends[i]
    converged = np.ones(n_restarts, bool)
    if num_states > 2 and ends.min() < objective:
        converged[ends.argmin()] = False
    return traces, iterations, converged


def _folds(
    params: Parameters,
    session_ids: np.ndarray,
    mask: np.ndarray,
    per_trial: float,
    n_folds: int,
    seed: int,
) -> tuple[CVFoldResult, ...]:
    sessions = np.array(list(dict.fromkeys(session_ids)))
    fold_of = np.random.default_rng(7).permutation(np.arange(len(sessions)) % max(n_folds, 1))
    hard = np.random.default_rng(11).normal(0, 0.025, n_folds)
    noise = np.random.default_rng(seed).normal(0, 0.004, n_folds)
    folds = []
    for fold in range(n_folds):
        test = sessions[fold_of == fold]
        rows = np.isin(session_ids, test)
        folds.append(
            CVFoldResult(
                fold_index=fold,
                training_session_ids=tuple(sessions[fold_of != fold]),
                test_session_ids=tuple(test),
                training_trial_count=int(mask[~rows].sum()),
                test_trial_count=int(mask[rows].sum()),
                training_log_likelihood_per_trial=per_trial,
                test_log_likelihood_per_trial=per_trial + hard[fold] + noise[fold],
                baseline_log_likelihood_per_trial=-0.692,
                training_accuracy=0.8,
                test_accuracy=0.79,
                best_restart=0,
                final_training_objective=per_trial,
                converged=True,
                test_session_log_likelihoods=tuple(
                    (per_trial + hard[fold]) * mask[session_ids == s].sum() for s in test
                ),
                test_session_trial_counts=tuple(int(mask[session_ids == s].sum()) for s in test),
                fitted_params=params,
            )
        )
    return tuple(folds)
