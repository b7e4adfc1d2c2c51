"""Fit any model whose logits are linear in its weights, with or without lapses.

The GLM, its lapses and the private alternatives differ in how a trial's logits come from the
weights and in their parameters' names; starts, folds and scores are the same and stand here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from glmhmm_core.baselines.climb import Climbed, Trials, climb, coordinates_of, rates_of
from glmhmm_core.baselines.lapses import Lapses, log_choice_probs
from glmhmm_core.baselines.result import BaselineFit, score_fold
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.problem import Problem

Params = TypeVar("Params")

#: Derivative per choice and step of root mean square 1 at which a climb has converged, nats.
GRADIENT = 1e-8
#: Total lapse rates, as shares of the bound, that starts begin from; later ones are jittered.
LEVELS = (0.02, 0.1, 0.3, 0.001)


#: Coordinate of a rate that is held at zero.
NEVER = -40.0


@dataclass(frozen=True)
class SoftmaxModel:
    """A softmax model laid out over trials.

    Attributes
    ----------
    features : float64 (T, C-1, P)
        What each weight adds to each logit over the baseline class.
    prior_scale : float64 (P,)
        Standard deviation of the Gaussian prior on each weight; infinity for none.
    lapses
        Which lapse rates apply to which trial.
    max_lapse
        Bound of the sum of the rates that exclude one another.
    """

    features: np.ndarray
    prior_scale: np.ndarray
    lapses: Lapses
    max_lapse: float = 1.0


@dataclass(frozen=True)
class StartSettings:
    """How to climb: number of starts, steps of each, and the root of their jitter."""

    n_starts: int = 4
    max_iters: int = 500
    seed: int = 0

    def check(self, where: str) -> None:
        """Refuse what makes no sense.

        Raises
        ------
        InputError
        """
        for name, least in (("n_starts", 1), ("max_iters", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} is {getattr(self, name)}",
                    where=where,
                    remedy=f"It must be at least {least}.",
                )


def fit_softmax(
    name: str,
    model: SoftmaxModel,
    problem: Problem,
    splits: Splits,
    settings: StartSettings,
    names: tuple[str, ...],
    to_params: Callable[[np.ndarray, np.ndarray], Params],
    remarks: tuple[str, ...] = (),
) -> BaselineFit[Params]:
    """Fit to all sessions and to the training sessions of every split.

    Parameters
    ----------
    to_params
        Weights (P,) and lapse rates (L,) to the parameters that are given back.
    """
    counted = problem.mask & np.vstack(
        [np.ones((1, len(problem.mask)), bool), splits.train[:, problem.session_index]]
    )  # (1 + F, T)
    beta, rates, ends, starts = _climb_all(model, problem, counted, settings)

    log_probs = [
        log_choice_probs(logits_of(model.features, b, problem), r, model.lapses)
        for b, r in zip(beta, rates, strict=True)
    ]
    made = np.where(problem.mask, problem.y, 0)[:, None]
    scores = [np.where(problem.mask, np.take_along_axis(p, made, 1)[:, 0], 0.0) for p in log_probs]
    folds = []
    for fold in range(len(splits.train)):
        sessions = np.bincount(problem.session_index, scores[fold + 1], len(problem.sessions))
        folds.append(
            score_fold(
                problem,
                splits,
                fold,
                to_params(beta[fold + 1], rates[fold + 1]),
                np.exp(log_probs[fold + 1]),
                sessions,
                float(scores[fold + 1][counted[fold + 1]].sum()),
                float(ends.objective[fold + 1]),
                bool(ends.converged[fold + 1]),
            )
        )
    return BaselineFit(
        model=name,
        fitted_params=to_params(beta[0], rates[0]),
        names=names,
        num_parameters=beta.shape[1] + rates.shape[1],
        objective_log_probability=float(ends.objective[0]),
        choice_probs=np.exp(log_probs[0]),
        trial_log_likelihood=scores[0],
        y=problem.y,
        mask=problem.mask,
        session_ids=problem.session_ids,
        baseline_class_idx=problem.baseline_class_idx,
        start_objectives=starts,
        gradient_norm=float(ends.gradient[0]),
        iterations=int(ends.iterations[0]),
        converged=bool(ends.converged[0]),
        cv_metrics=tuple(folds),
        remarks=remarks,
    )


def logits_of(features: np.ndarray, beta: np.ndarray, problem: Problem) -> np.ndarray:
    """Logits (T, C) in class order: zero for the baseline, ``features @ beta`` for the rest."""
    logits = np.zeros((len(features), problem.num_classes))
    logits[:, problem.class_order[1:]] = features @ beta
    return logits


def _climb_all(
    model: SoftmaxModel, problem: Problem, counted: np.ndarray, settings: StartSettings
) -> tuple[np.ndarray, np.ndarray, Climbed, np.ndarray]:
    """Best of the starts in every lane: weights (F, P), rates (F, L), ends, and lane 0's ends."""
    # Units in which steps and gradients mean the same for every regressor.
    unit = np.sqrt(np.mean(model.features[problem.mask] ** 2, axis=(0, 1)))
    unit = np.where(unit > 0, unit, 1.0)
    trials, weights = _trials(model, problem, counted, unit)
    size, lapses = len(unit), len(model.lapses.labels)
    precision = 1 / (model.prior_scale * unit) ** 2
    grouped = np.asarray(trials.grouped)
    rated = slice(size, size + lapses)

    def ascend(start: np.ndarray, free: np.ndarray) -> Climbed:
        given = (start, weights, free, precision, trials, GRADIENT, settings.max_iters)
        return Climbed(*(np.asarray(a) for a in climb(*given)))

    lanes = len(counted)
    # Without lapses the objective is concave: one start, from zero, and the others' first half.
    point = np.concatenate([np.zeros(size), np.full(grouped.shape[1], NEVER)])
    free = np.concatenate([np.ones(size), np.zeros(grouped.shape[1])])
    glm = ascend(np.tile(point, (lanes, 1)), free)
    ends = [glm] if lapses == 0 else []
    free[rated] = 1.0
    for start in range(settings.n_starts if lapses else 0):
        rng = np.random.default_rng([settings.seed, start])
        share = LEVELS[start] if start < len(LEVELS) else rng.uniform(0.01, 0.5)
        together = grouped[:, :lapses]
        rates = model.max_lapse * share / (together.T @ together.sum(1))
        points = np.array(glm.point)
        points[:, :size] /= 1 - model.max_lapse * share
        points[:, rated] = coordinates_of(rates, together, model.max_lapse)
        if start >= len(LEVELS):
            points += free * rng.normal(scale=0.3, size=len(free))
        ends.append(ascend(points, free))
    objectives = np.stack([end.objective for end in ends])  # (R, F)
    if not np.isfinite(objectives).any(axis=0).all():
        raise InputError(
            "the likelihood is not finite at any starting point",
            where="baselines",
            remedy="Look for regressors of an extreme scale.",
        )
    winner = np.argmax(np.where(np.isfinite(objectives), objectives, -np.inf), axis=0)
    lane = np.arange(lanes)
    best = Climbed(*(np.stack(a)[winner, lane] for a in zip(*ends, strict=True)))
    rates = np.stack([rates_of(p[size:], grouped, model.max_lapse)[:lapses] for p in best.point])
    # The prior is a density of the weights, which do not have the unit of their climb.
    proper = np.isfinite(model.prior_scale)
    shift = float(np.log(unit[proper]).sum())
    best = best._replace(objective=best.objective + shift)
    beta = np.asarray(best.point)[:, :size] / unit
    return beta, rates, best, np.asarray(objectives[:, 0] + shift)


def _trials(
    model: SoftmaxModel, problem: Problem, counted: np.ndarray, unit: np.ndarray
) -> tuple[Trials, np.ndarray]:
    """Trials with a choice, padded to a length that many subjects share, and their weights."""
    rows = np.flatnonzero(problem.mask)
    y, lapses, num_classes = problem.y[rows], model.lapses, problem.num_classes
    # As many rates and groups as any kind of lapse has, so that all share a program; a rate
    # that there is not applies nowhere.
    absent = 2 * num_classes - len(lapses.labels)
    group = np.concatenate([lapses.group, np.zeros(absent, np.int64)])

    def padded(values: np.ndarray, *widths: int) -> np.ndarray:
        return np.pad(values, [(0, width) for width in widths])

    behind = padded_length(len(rows)) - len(rows)
    made = np.eye(num_classes)[y][:, problem.class_order]
    target = np.take_along_axis(lapses.laws[rows], y[:, None, None], 2)[:, :, 0]
    trials = Trials(
        features=padded(model.features[rows] / unit, behind, 0, 0),
        made=padded(made, behind, 0),
        active=padded(lapses.active[rows], behind, absent),
        target=padded(target, behind, absent),
        grouped=(np.arange(num_classes)[:, None] == group).astype(np.float64),
        cap=float(model.max_lapse),
    )
    return trials, padded(counted[:, rows].astype(np.float64), 0, behind)


def padded_length(length: int) -> int:
    """The next multiple of 1,024 or of a larger power of 2: few programs, little waste."""
    quarter = max(1 << max(length.bit_length() - 3, 0), 1024)
    return -(-length // quarter) * quarter
