"""The private-alternative GLM: regressors of each alternative, weighed alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmhmm_core.baselines.lapses import lay_out
from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.baselines.softmax_fit import SoftmaxModel, StartSettings, fit_softmax
from glmhmm_core.baselines.splits import check_splits, fold_splits
from glmhmm_core.design.arrays import numbers
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.inputs import as_problem
from glmhmm_core.fitting.remarks import dependent
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.validation import check_problem, weight_scale


@dataclass(frozen=True)
class PrivateAlternativeGLM:
    """Parameters of a private-alternative GLM.

    Attributes
    ----------
    weights : float64 (M,)
        Weight of each regressor, the same for every alternative.
    biases : float64 (C,)
        Log-odds of each alternative where regressors are alike; 0 for the reference.
    """

    weights: np.ndarray
    biases: np.ndarray


def fit_private_alternative_glm(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    reference_class_idx: int = 1,
    prior_scale: float | Sequence[float] | np.ndarray = 2.0,
    bias_scale: float = 2.0,
    max_iters: int = 500,
    seed: int = 0,
    cv_folds: int = 0,
    splits: Splits | None = None,
) -> BaselineFit[PrivateAlternativeGLM]:
    """Fit logit_c = b_c + w x_tc to one subject's choices (a conditional logit, McFadden 1974).

    Parameters
    ----------
    y : int (T,)
        Choices 0..C-1; read only where ``mask`` is true.
    X : float (T, C, M)
        Regressors of each alternative. What is the same for all alternatives of a trial cannot
        matter.
    session_ids : (T,)
        Session of each trial.
    mask : bool (T,), optional
        True where a choice was made. Default: all.
    names
        Names of the M regressors. Default: x0, x1, ...
    reference_class_idx
        Alternative whose bias is fixed at zero.
    prior_scale, bias_scale
        Standard deviation of the Gaussian prior on each weight (one number or M) and on the
        biases; infinity for none.
    max_iters, seed, cv_folds, splits
        As of :func:`~glmhmm_core.baselines.lapse_glm.fit_lapse_glm`.

    Returns
    -------
    BaselineFit of PrivateAlternativeGLM
        Rows in the order given; M + C - 1 parameters.

    Raises
    ------
    InputError
        Naming what cannot be used and the remedy.
    """
    where = "fit_private_alternative_glm"
    settings = StartSettings(1, max_iters, seed)
    settings.check(where)
    X = numbers("X", X, where)
    if X.ndim != 3 or X.shape[1] < 2 or X.shape[2] == 0:
        raise InputError(
            f"X has shape {X.shape}",
            where=where,
            remedy="Give (trials, alternatives, regressors), with at least two alternatives.",
        )
    trials, num_classes, columns = X.shape
    labels = tuple(names) if names is not None else tuple(f"x{i}" for i in range(columns))
    scale = np.asarray(prior_scale, np.float64)
    if not (np.all(scale > 0) and bias_scale > 0):
        raise InputError(
            f"prior_scale is {prior_scale}, bias_scale {bias_scale}",
            where=where,
            remedy="They must be positive; infinity means no prior.",
        )
    given = tuple(scale.tolist()) if scale.ndim else float(scale)
    if len(labels) != columns:
        raise InputError(
            f"{len(labels)} names for {columns} regressors",
            where=where,
            remedy="Give one name per regressor.",
        )
    each = Specification(
        num_classes,
        tuple(f"{name} of alternative {c}" for c in range(num_classes) for name in labels),
        np.ones(num_classes * columns),
    )
    problem = as_problem(
        y, X.reshape(trials, -1), session_ids, mask, num_classes, reference_class_idx, where
    )
    check_problem(problem, each, where)
    X = problem.X.reshape(X.shape)
    sides = (
        fold_splits(problem, cv_folds, seed, where)
        if splits is None
        else check_splits(splits, problem, where)
    )
    rest = problem.class_order[1:]
    over = X[:, rest] - X[:, [reference_class_idx]]  # (T, C-1, M)
    intercepts = np.broadcast_to(
        np.eye(num_classes - 1), (trials, num_classes - 1, num_classes - 1)
    )
    features = np.concatenate([over, intercepts], axis=2)
    stacked = features[problem.mask].reshape(-1, features.shape[2])
    biases = tuple(f"bias of alternative {c}" for c in rest)
    order = [*range(columns, features.shape[2]), *range(columns)]
    remarks = tuple(
        f"Regressor {name!r} is the same for all alternatives or a combination of others: only "
        "the prior, or damping without one, sets its weight apart."
        for name in dependent((*biases, *labels), stacked[:, order])
    )

    def to_params(beta: np.ndarray, _: np.ndarray) -> PrivateAlternativeGLM:
        levels = np.zeros(num_classes)
        levels[rest] = beta[columns:]
        return PrivateAlternativeGLM(beta[:columns], levels)

    return fit_softmax(
        "private_alternative",
        SoftmaxModel(
            features,
            np.append(
                weight_scale("prior_scale", given, columns), np.full(num_classes - 1, bias_scale)
            ),
            lay_out("none", np.full(trials, -1), num_classes),
        ),
        problem,
        sides,
        settings,
        labels,
        to_params,
        remarks,
    )


def predict_private_alternative_glm(params: PrivateAlternativeGLM, X: np.ndarray) -> np.ndarray:
    """P(y_t = c) of every trial, float64 (T, C), of regressors (T, C, M)."""
    logits = params.biases + numbers("X", X, "predict_private_alternative_glm") @ params.weights
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
