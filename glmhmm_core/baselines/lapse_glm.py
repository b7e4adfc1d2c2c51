"""The softmax GLM of one subject's choices, with lapses of any kind or none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmhmm_core.baselines.lapses import (
    LapseKind,
    check_kind,
    lay_out,
    log_choice_probs,
    previous_choices,
    shown_rates,
)
from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.baselines.softmax_fit import SoftmaxModel, StartSettings, fit_softmax
from glmhmm_core.baselines.splits import check_splits, fold_splits
from glmhmm_core.design.arrays import classes, numbers
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.inputs import as_problem
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.remarks import data_remarks
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.validation import check_problem, weight_scale


@dataclass(frozen=True)
class LapseGLM:
    """Parameters of a GLM with lapses.

    Attributes
    ----------
    weights : float64 (C-1, M)
        Log-odds of each class over the baseline, per unit of each regressor; rows in class
        order with the baseline left out.
    lapse_rates : float64 (L,)
        Probability of each lapse; of ``class_1``, of each class alike.
    lapse_labels : L names.
    lapse
        Kind of the lapses.
    """

    weights: np.ndarray
    lapse_rates: np.ndarray
    lapse_labels: tuple[str, ...]
    lapse: LapseKind


def fit_lapse_glm(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    num_classes: int,
    lapse: LapseKind = "class",
    mask: np.ndarray | None = None,
    previous: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    baseline_class_idx: int = 0,
    prior_scale: float | Sequence[float] | np.ndarray = 2.0,
    max_lapse: float = 1.0,
    n_starts: int = 4,
    max_iters: int = 500,
    seed: int = 0,
    cv_folds: int = 0,
    splits: Splits | None = None,
) -> BaselineFit[LapseGLM]:
    """Fit a softmax GLM with lapses to one subject's trials.

    With two classes and ``lapse="class"`` this is P(R) = g_R + (1 - g_R - g_L) sigmoid(w x), the
    two-rate lapse model of Ashwood et al. 2022 (Nat Neurosci 25:201). Rates have no prior.

    Parameters
    ----------
    y : int (T,)
        Choices 0..C-1; read only where ``mask`` is true.
    X : float (T, M)
        Regressors. No intercept is added: a bias is a column of ones.
    session_ids : (T,)
        Session of each trial. Trials of a session need not stand together; their order counts.
    num_classes
        C.
    lapse
        ``none``, ``class_1``, ``class``, ``history`` or ``history_conditioned``; see
        :func:`~glmhmm_core.baselines.lapses.lay_out`.
    mask : bool (T,), optional
        True where a choice was made. Default: all.
    previous : int (T,), optional
        Class of the previous choice, negative where there is none: to be given where choices
        outside the mask, or trials left out, count as history. Default: the last choice among
        the trials given, within the session.
    names
        Names of the M regressors. Default: x0, x1, ...
    baseline_class_idx
        Class whose logit is fixed at zero.
    prior_scale
        Standard deviation of the Gaussian prior on the weight of each regressor, one number or
        M; infinity for none.
    max_lapse
        Bound of the rates of lapses that exclude one another, together.
    n_starts
        Starts of a model with lapses, from different rates; without, the optimum is unique.
    max_iters, seed
        Steps of each start, and the root of their jitter and of the folds.
    cv_folds
        Folds of held-out sessions, those of a GLM-HMM with the same seed; 0 for none.
    splits
        Training and test sessions instead of folds.

    Returns
    -------
    BaselineFit of LapseGLM
        Rows in the order given.

    Raises
    ------
    InputError
        Naming what cannot be used and the remedy.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([rng.normal(size=2000), np.ones(2000)])
    >>> right = np.where(rng.random(2000) < 0.2, rng.random(2000) < 0.5, X[:, 0] > 0)
    >>> sessions = np.repeat(np.arange(10), 200)
    >>> fit = fit_lapse_glm(right.astype(int), X, sessions, num_classes=2)
    >>> fit.fitted_params.lapse_rates.round(1).tolist(), fit.num_parameters, fit.converged
    ([0.1, 0.1], 4, True)
    """
    where = "fit_lapse_glm"
    check_kind(lapse, where)
    settings = StartSettings(n_starts, max_iters, seed)
    settings.check(where)
    if not 0 < max_lapse <= 1:
        raise InputError(
            f"max_lapse is {max_lapse}",
            where=where,
            remedy="It must be above 0 and at most 1.",
        )
    problem = as_problem(y, X, session_ids, mask, num_classes, baseline_class_idx, where)
    scale = np.asarray(prior_scale, np.float64)
    if not np.all(scale > 0):
        raise InputError(
            f"prior_scale is {prior_scale}",
            where=where,
            remedy="It must be positive; infinity means no prior.",
        )
    columns = problem.X.shape[-1]
    labels = tuple(names) if names is not None else tuple(f"x{i}" for i in range(columns))
    model = Specification(
        num_classes,
        labels,
        weight_scale(
            "prior_scale",
            tuple(np.atleast_1d(scale).tolist()) if scale.ndim else float(scale),
            columns,
        ),
    )
    check_problem(problem, model, where)
    sides = (
        fold_splits(problem, cv_folds, seed, where)
        if splits is None
        else check_splits(splits, problem, where)
    )
    before = _previous(previous, problem, where)
    lapses = lay_out(lapse, before, num_classes)
    remarks = [*data_remarks(problem, model)]
    if lapse != "none":
        used = lapses.active[problem.mask].any(axis=0)
        remarks += [
            f"No trial informs lapse rate {label!r}: it stays where its start put it."
            for label, there in zip(lapses.labels, used, strict=True)
            if not there
        ]
    return fit_softmax(
        "glm" if lapse == "none" else f"lapse_{lapse}",
        SoftmaxModel(
            shared_features(problem.X, num_classes),
            np.tile(model.emission_scale, num_classes - 1),
            lapses,
            max_lapse,
        ),
        problem,
        sides,
        settings,
        labels,
        lambda beta, rates: LapseGLM(
            beta.reshape(num_classes - 1, columns),
            shown_rates(lapse, rates, num_classes),
            lapses.labels,
            lapse,
        ),
        tuple(remarks),
    )


def predict_lapse_glm(
    params: LapseGLM,
    X: np.ndarray,
    *,
    previous: np.ndarray | None = None,
    baseline_class_idx: int = 0,
) -> np.ndarray:
    """P(y_t = c) of every trial, float64 (T, C).

    Parameters
    ----------
    X : float (T, M)
        Regressors.
    previous : int (T,)
        Class of the previous choice, negative where there is none; needed for history lapses.

    Raises
    ------
    InputError
        History lapses without previous choices.
    """
    X = numbers("X", X, "predict_lapse_glm")
    num_classes = len(params.weights) + 1
    if previous is None and params.lapse.startswith("history"):
        raise InputError(
            "history lapses depend on the previous choice",
            where="predict_lapse_glm",
            remedy="Give previous, as previous_choices makes it.",
        )
    before = (
        np.full(len(X), -1) if previous is None else _classes_before(previous, "predict_lapse_glm")
    )
    logits = np.insert(X @ params.weights.T, baseline_class_idx, 0.0, axis=1)
    rates = params.lapse_rates * (num_classes if params.lapse == "class_1" else 1)
    return np.exp(log_choice_probs(logits, rates, lay_out(params.lapse, before, num_classes)))


def shared_features(X: np.ndarray, num_classes: int) -> np.ndarray:
    """Regressors (T, M) that every class but the baseline has weights of its own for.

    Returns
    -------
    float64 (T, C-1, (C-1) M)
    """
    rows = num_classes - 1
    return np.einsum("cd,tm->tcdm", np.eye(rows), X).reshape(len(X), rows, -1)


def _previous(given: np.ndarray | None, problem: Problem, where: str) -> np.ndarray:
    if given is None:
        return previous_choices(problem.y, problem.session_index)
    previous = _classes_before(given, where)
    if previous.shape != problem.y.shape:
        raise InputError(
            f"previous has shape {previous.shape}",
            where=where,
            remedy=f"Give {len(problem.y)} whole numbers, one per trial, negative for none.",
        )
    if previous.max(initial=-1) >= problem.num_classes:
        raise InputError(
            f"previous choice {previous.max()} of {problem.num_classes} classes",
            where=where,
            remedy="Number the classes from 0.",
        )
    return previous


def _classes_before(given: np.ndarray, where: str) -> np.ndarray:
    """Class of each previous choice, int64 (T,); -1 where there is none."""
    return np.maximum(classes("previous", given, None, where)[0], -1)
