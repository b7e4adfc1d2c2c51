"""Drifting weights: the competing explanation of slow change, its step sizes learned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmhmm_core.baselines.ascent import Ascended, ascend
from glmhmm_core.baselines.result import BaselineFit, BaselineFold, score_fold
from glmhmm_core.baselines.softmax_fit import padded_length
from glmhmm_core.baselines.splits import check_splits, fold_splits
from glmhmm_core.baselines.walk import TINY, Walk, predict, smooth, value_and_gradient
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.inputs import as_problem
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.remarks import data_remarks
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.validation import check_problem, weight_scale

#: Derivative of the log-likelihood by a log step size at which learning has converged, nats.
GRADIENT = 0.02
#: Step sizes that starts begin from, within sessions and between, times 1 / the regressor's root
#: mean square.
STARTS = ((0.02, 0.1), (0.1, 0.3), (0.003, 0.02), (0.003, 0.3))
#: Lanes of one call that only filters.
LANES = 8


@dataclass(frozen=True)
class DriftingWeights:
    """Parameters of drifting weights, and the weights themselves.

    Attributes
    ----------
    step_sizes, session_step_sizes : float64 (M,)
        Standard deviation of the step before each trial, and before a session's first in its
        place; the same for the weights of every class.
    initial_scale : float64 (M,)
        Standard deviation at the first trial, about zero; not learned.
    weights, weights_sd : float64 (T, C-1, M)
        Smoothed mean of each trial's weights and its standard deviation, given all training
        choices; rows of classes as of the GLM. None in folds.
    """

    step_sizes: np.ndarray
    session_step_sizes: np.ndarray
    initial_scale: np.ndarray
    weights: np.ndarray | None = None
    weights_sd: np.ndarray | None = None


@dataclass(frozen=True)
class _Timeline:
    """A problem in order of time: sessions in order of first appearance, padded behind."""

    problem: Problem
    walk: Walk
    order: np.ndarray  # rows of the problem by time, (T,)

    def counted(self, sessions: np.ndarray) -> np.ndarray:
        """Trials that count in some sessions (F, S): 1.0 or 0.0, (F, padded T)."""
        index = self.problem.session_index[self.order]
        there = sessions[:, index] & self.problem.mask[self.order]
        padding = self.walk.X.shape[0] - len(self.order)
        return np.pad(there.astype(np.float64), ((0, 0), (0, padding)))

    def to_rows(self, values: np.ndarray) -> np.ndarray:
        """Values by time (padded T, ...) to the problem's rows (T, ...)."""
        rows = np.empty((len(self.order), *values.shape[1:]))
        rows[self.order] = values[: len(self.order)]
        return rows


def fit_drifting_weights(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    num_classes: int,
    mask: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    baseline_class_idx: int = 0,
    prior_scale: float | Sequence[float] | np.ndarray = 2.0,
    n_starts: int = 2,
    max_evaluations: int = 150,
    seed: int = 0,
    cv_folds: int = 0,
    splits: Splits | None = None,
) -> BaselineFit[DriftingWeights]:
    """Fit a GLM whose weights walk at random within and between sessions.

    Step sizes are those of highest marginal likelihood, 2 M parameters, as the filter
    approximates it. A split's held-out score is the log-likelihood of training and test choices
    less that of the training choices, at step sizes learned from the latter; a session's part
    is what it adds to the training choices and the test sessions before it. Weights between
    training sessions are thus interpolated; train on the past alone (``splits``) to forecast.
    ``test_accuracy`` is of predictions from choices before the trial alone.

    Parameters
    ----------
    y, X, session_ids, num_classes, mask, names, baseline_class_idx
        As of :func:`~glmhmm_core.baselines.lapse_glm.fit_lapse_glm`. Sessions follow one
        another in order of first appearance.
    prior_scale
        Standard deviation of the weights at the first trial, one number or M, finite.
    n_starts
        At most 4, from different step sizes.
    max_evaluations
        Evaluations of the gradient after which a start is given up as not converged.
    seed, cv_folds, splits
        As of :func:`~glmhmm_core.baselines.lapse_glm.fit_lapse_glm`.

    Returns
    -------
    BaselineFit of DriftingWeights
        Rows in the order given.

    Raises
    ------
    InputError
        Naming what cannot be used and the remedy.
    """
    where = "fit_drifting_weights"
    for name, given, least, most in (
        ("n_starts", n_starts, 1, len(STARTS)),
        ("max_evaluations", max_evaluations, 1, math.inf),
        ("seed", seed, 0, math.inf),
    ):
        if not least <= given <= most:
            raise InputError(
                f"{name} is {given}",
                where=where,
                remedy=f"It must be at least {least} and at most {most}.",
            )
    problem, scale, labels, remarks = _checked(
        y, X, session_ids, mask, num_classes, baseline_class_idx, prior_scale, names, where
    )
    sides = (
        fold_splits(problem, cv_folds, seed, where)
        if splits is None
        else check_splits(splits, problem, where)
    )
    timeline = _timeline(problem, scale)
    everything = np.ones((1, len(problem.sessions)), bool)
    trained = timeline.counted(np.vstack([everything, sides.train]))
    best, objectives = _learn(timeline, trained, n_starts, max_evaluations)
    log_steps = best.point.reshape(len(trained), 2, -1)

    folds = tuple(
        _fold(timeline, sides, fold, log_steps[fold + 1], best) for fold in range(len(sides.train))
    )
    _, probs = _filtered(timeline, log_steps[0], everything)
    rows = timeline.to_rows(probs[0])
    made = np.where(problem.mask, problem.y, 0)[:, None]
    scores = np.where(
        problem.mask, np.log(np.maximum(np.take_along_axis(rows, made, 1)[:, 0], TINY)), 0.0
    )
    return BaselineFit(
        model="drifting_weights",
        fitted_params=_with_weights(timeline, log_steps[0], trained[0]),
        names=labels,
        num_parameters=log_steps[0].size,
        objective_log_probability=float(best.value[0]),
        choice_probs=rows,
        trial_log_likelihood=scores,
        y=problem.y,
        mask=problem.mask,
        session_ids=problem.session_ids,
        baseline_class_idx=baseline_class_idx,
        start_objectives=objectives,
        gradient_norm=float(best.gradient[0]),
        iterations=best.evaluations,
        converged=bool(best.converged[0]),
        cv_metrics=folds,
        remarks=remarks,
    )


def drift_at(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    num_classes: int,
    step_sizes: np.ndarray,
    session_step_sizes: np.ndarray,
    prior_scale: float | Sequence[float] | np.ndarray = 2.0,
    mask: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    baseline_class_idx: int = 0,
) -> tuple[DriftingWeights, float]:
    """Weights at given step sizes (M,), each positive, and the marginal log-likelihood in nats.

    Raises
    ------
    InputError
    """
    where = "drift_at"
    problem, scale, labels, _ = _checked(
        y, X, session_ids, mask, num_classes, baseline_class_idx, prior_scale, names, where
    )
    given = [np.asarray(sizes, np.float64) for sizes in (step_sizes, session_step_sizes)]
    for sizes in given:
        if sizes.shape != (len(labels),) or not (np.isfinite(sizes) & (sizes > 0)).all():
            raise InputError(
                f"step sizes are {sizes.tolist()} for {len(labels)} regressors",
                where=where,
                remedy="Give a positive number per regressor in each.",
            )
    steps = np.stack(given)
    timeline = _timeline(problem, scale)
    everything = np.ones((1, len(problem.sessions)), bool)
    sums, _ = _filtered(timeline, np.log(steps), everything)
    counted = timeline.counted(everything)[0]
    return _with_weights(timeline, np.log(steps), counted), float(sums[0])


def _checked(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    mask: np.ndarray | None,
    num_classes: int,
    baseline_class_idx: int,
    prior_scale: float | Sequence[float] | np.ndarray,
    names: Sequence[str] | None,
    where: str,
) -> tuple[Problem, np.ndarray, tuple[str, ...], tuple[str, ...]]:
    problem = as_problem(y, X, session_ids, mask, num_classes, baseline_class_idx, where)
    scale = np.asarray(prior_scale, np.float64)
    if not np.all((scale > 0) & np.isfinite(scale)):
        raise InputError(
            f"prior_scale is {prior_scale}",
            where=where,
            remedy="It must be positive and finite: the walk has to begin somewhere.",
        )
    columns = problem.X.shape[-1]
    labels = tuple(names) if names is not None else tuple(f"x{i}" for i in range(columns))
    given = tuple(scale.tolist()) if scale.ndim else float(scale)
    model = Specification(num_classes, labels, weight_scale("prior_scale", given, columns))
    check_problem(problem, model, where)
    return problem, model.emission_scale, labels, data_remarks(problem, model)


def _timeline(problem: Problem, scale: np.ndarray) -> _Timeline:
    order = np.argsort(problem.session_index, kind="stable")
    padding = padded_length(len(order)) - len(order)
    session = problem.session_index[order]
    first = np.concatenate([[True], session[1:] != session[:-1]])
    between = first & (np.arange(len(order)) > 0)
    y = np.where(problem.mask, problem.y, problem.baseline_class_idx)[order]
    made = np.eye(problem.num_classes)[y][:, problem.class_order[1:]]
    walk = Walk(
        X=np.pad(problem.X[order], ((0, padding), (0, 0))),
        made=np.pad(made, ((0, padding), (0, 0))),
        within=np.pad((~first).astype(np.float64), (0, padding)),
        between=np.pad(between.astype(np.float64), (0, padding)),
        initial_scale=scale,
    )
    return _Timeline(problem, walk, order)


def _learn(
    timeline: _Timeline, counted: np.ndarray, n_starts: int, max_evaluations: int
) -> tuple[Ascended, np.ndarray]:
    """Best of the starts in every lane, and where each of lane 0 ended."""
    X = timeline.problem.X[timeline.problem.mask]
    unit = np.sqrt((X**2).mean(0))
    unit = np.where(unit > 0, unit, 1.0)
    lanes = len(counted)

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = points.reshape(lanes, 2, -1)
        value, gradient = value_and_gradient(steps, counted, timeline.walk)
        return np.asarray(value), np.asarray(gradient).reshape(lanes, -1)

    ends = []
    for start in STARTS[:n_starts]:
        log_steps = np.log(np.array(start)[:, None] / unit)
        point = np.tile(log_steps.ravel(), (lanes, 1))
        ends.append(ascend(evaluate, point, GRADIENT, max_evaluations))
    values = np.stack([end.value for end in ends])
    if not np.isfinite(values).any(axis=0).all():
        raise InputError(
            "the likelihood is not finite at any starting point",
            where="drifting weights",
            remedy="Look for regressors of an extreme scale.",
        )
    winner = np.argmax(np.where(np.isfinite(values), values, -np.inf), axis=0)
    lane = np.arange(lanes)
    best = Ascended(
        point=np.stack([end.point for end in ends])[winner, lane],
        value=values[winner, lane],
        gradient=np.stack([end.gradient for end in ends])[winner, lane],
        evaluations=sum(end.evaluations for end in ends),
        converged=np.stack([end.converged for end in ends])[winner, lane],
    )
    return best, values[:, 0]


def _filtered(
    timeline: _Timeline, log_steps: np.ndarray, sessions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods (n,) of sets of sessions (n, S), and P(class) by time of first and last.

    Returns
    -------
    sums : float64 (n,)
    probs : float64 (2, padded T, C)
        Classes in their order.
    """
    counted = timeline.counted(sessions)
    sums, ends = [], []
    # Sets of equal number: one program for any number of sessions.
    lanes = LANES if len(counted) > 1 else 1
    for begin in range(0, len(counted), lanes):
        part = counted[begin : begin + lanes]
        filled = np.concatenate([part, np.tile(part[-1:], (lanes - len(part), 1))])
        steps = np.tile(log_steps, (lanes, 1, 1))
        value, probs = predict(steps, filled, timeline.walk)
        sums.append(np.asarray(value)[: len(part)])
        ends += [np.asarray(probs[0]), np.asarray(probs[len(part) - 1])]
    order = np.argsort(timeline.problem.class_order)
    return np.concatenate(sums), np.stack([ends[0], ends[-1]])[:, :, order]


def _fold(
    timeline: _Timeline, sides: Splits, fold: int, log_steps: np.ndarray, best: Ascended
) -> BaselineFold[DriftingWeights]:
    """Scores of one split: test sessions join the training sessions one after the other."""
    problem = timeline.problem
    train, test = sides.train[fold], np.flatnonzero(sides.test[fold])
    sets = np.tile(train, (len(test) + 1, 1))
    for place, session in enumerate(test):
        sets[place + 1 :, session] = True
    sums, probs = _filtered(timeline, log_steps, sets)
    held_out = np.zeros(len(problem.sessions))
    held_out[test] = np.diff(sums)
    without, with_test = timeline.to_rows(probs[0]), timeline.to_rows(probs[1])
    tested = sides.test[fold][problem.session_index]
    return score_fold(
        problem,
        sides,
        fold,
        _parameters(timeline, log_steps),
        np.where(tested[:, None], with_test, without),
        held_out,
        float(sums[0]),
        float(best.value[fold + 1]),
        bool(best.converged[fold + 1]),
    )


def _parameters(timeline: _Timeline, log_steps: np.ndarray) -> DriftingWeights:
    steps = np.exp(log_steps)
    return DriftingWeights(steps[0], steps[1], np.asarray(timeline.walk.initial_scale))


def _with_weights(
    timeline: _Timeline, log_steps: np.ndarray, counted: np.ndarray
) -> DriftingWeights:
    means, sds = (np.asarray(a) for a in smooth(log_steps, counted, timeline.walk))
    shape = (len(timeline.order), timeline.walk.made.shape[1], timeline.walk.X.shape[1])
    params = _parameters(timeline, log_steps)
    return DriftingWeights(
        params.step_sizes,
        params.session_step_sizes,
        params.initial_scale,
        timeline.to_rows(means).reshape(shape),
        timeline.to_rows(sds).reshape(shape),
    )
