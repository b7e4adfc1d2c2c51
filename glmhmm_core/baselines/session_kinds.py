"""A GLM-HMM whose sessions are of several kinds, scored on the folds of the plain one.

In a plain GLM-HMM all sessions follow one chain, so that switches are spread over them more
evenly than in animals: in seven mice 83 % of the sessions have a switch, in simulations of their
fits 90 %. Here each session is of one of a few kinds with a start and transitions of its own; the
states, by their weights, are the same. Kinds are drawn to the plain fit's chain, which counts for
``TRANSITIONS`` transitions out of each state and ``SESSIONS`` sessions begun: without that, kinds
of one mouse in seven predicted its held-out sessions worse than the plain fit.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from glmhmm_core.baselines.result import BaselineFit, BaselineFold, score_fold
from glmhmm_core.baselines.subject import SOURCES
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.session_kinds import (
    KindsFit,
    SessionKinds,
    as_one_chain,
    kinds_prior,
    maximize_kinds,
)
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.fingerprint import sources_hash
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.optimum import heldout_gain
from glmhmm_core.fitting.problem import Posteriors, Problem
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import CVFoldResult, FitResult, SubjectFits

NAME = "glmhmm_sessions"
#: What the plain chain counts for in the prior of every kind's. On seven mice the mean held-out
#: gain was .0046, .0046 and .0037 bits per trial at 5, 20 and 80 transitions.
TRANSITIONS, SESSIONS = 20.0, 2.0
#: Factors of leaving in the first start's kinds, from calm to restless, on a log scale.
SPREAD = 1.2


def fit_session_kinds(
    fit: FitResult,
    num_kinds: int = 2,
    *,
    prospective: Sequence[CVFoldResult] = (),
    n_starts: int = 4,
    seed: int = 0,
    tol: float = 1e-9,
) -> BaselineFit[SessionKinds]:
    """Fit sessions of several kinds around a plain GLM-HMM, on all its sessions and on its folds.

    Kinds are in the order of their mean self-transition, the calmest first.

    Parameters
    ----------
    fit
        The plain fit, at least two states, without transition regressors. Every fold starts from,
        and is drawn to, the parameters that were fitted without its sessions.
    num_kinds
        G, at least 2.
    prospective
        Prospective folds of the plain fit (:func:`~glmhmm_core.fitting.prospective`), to be
        scored on too, in the same way.
    n_starts
        Starts of each climb: kinds that leave states more or less readily, then random ones.
    seed
        Root of the random numbers, with the start's number.
    tol
        Relative gain of the MAP objective at which a climb ends.

    Raises
    ------
    InputError
        One state or kind, or transitions with regressors.
    """
    if fit.num_states < 2 or num_kinds < 2 or n_starts < 1 or fit.transition_names:
        raise InputError(
            f"{num_kinds} kinds and {n_starts} starts around {fit.num_states} states with "
            f"{len(fit.transition_names)} transition regressors",
            where="session kinds",
            remedy="Give two kinds or more, a start, and a plain fit of two states or more.",
        )
    problem = problem_of(fit)

    def climb(held_out: np.ndarray | None, plain: Parameters) -> tuple[KindsFit, np.ndarray]:
        ends = _climb(fit, problem, held_out, plain, num_kinds, n_starts, seed, tol)
        objectives = np.array([float(end.objective) for end in ends])
        return _ordered(ends[int(objectives.argmax())]), objectives

    def score(plain: Sequence[CVFoldResult]) -> tuple[BaselineFold[SessionKinds], ...]:
        splits = _splits(problem, plain)
        folds = []
        for i, fold in enumerate(plain):
            end, _ = climb(~splits.train[i][problem.session_index], fold.fitted_params)
            folds.append(_fold(problem, splits, i, end))
        return tuple(folds)

    best, objectives = climb(None, fit.fitted_params)
    posteriors = posteriors_of(problem, best.params)
    return BaselineFit(
        model=NAME,
        fitted_params=best.params,
        names=fit.emission_names,
        num_parameters=_num_parameters(fit, num_kinds),
        objective_log_probability=float(best.objective),
        choice_probs=posteriors.choice_probs,
        trial_log_likelihood=posteriors.log_likelihood,
        y=fit.y,
        mask=fit.mask,
        session_ids=fit.session_ids,
        baseline_class_idx=fit.baseline_class_idx,
        start_objectives=objectives,
        gradient_norm=float("nan"),
        iterations=int(best.iterations),
        converged=bool(best.converged),
        cv_metrics=score(fit.cv_metrics),
        prospective=score(prospective),
        num_states=fit.num_states,
    )


def fingerprint(fits: SubjectFits, num_states: int, num_prospective: int, **given: float) -> str:
    """Hash of everything that decides these fits, as 64 hexadecimal digits.

    Parameters
    ----------
    fits, num_states
        A subject's models, and of which of them the sessions are of several kinds.
    num_prospective
        Its prospective folds that are scored.
    given
        Further arguments of :func:`fit_session_kinds`.
    """
    said = json.dumps([fits.fingerprint, num_states, num_prospective, given], sort_keys=True)
    return hashlib.sha256((said + sources_hash(SOURCES)).encode()).hexdigest()


def posteriors_of(problem: Problem, params: SessionKinds) -> Posteriors:
    """What the model says of every trial; states are those of every kind together."""
    said = problem.posteriors(jax.tree.map(np.asarray, as_one_chain(params)))
    kinds, states = params.initial_probs.shape

    def of_states(probs: np.ndarray) -> np.ndarray:
        return probs.reshape(-1, kinds, states).sum(1)

    return replace(
        said,
        smoothed=of_states(said.smoothed),
        filtered=of_states(said.filtered),
        predictive=of_states(said.predictive),
    )


def gain_over(
    fit: FitResult, kinds: BaselineFit[SessionKinds]
) -> tuple[float | None, float | None]:
    """Held-out bits per trial over the plain fit, and its standard error over folds."""
    return heldout_gain(kinds.cv_metrics, fit.cv_metrics)


def _splits(problem: Problem, folds: Sequence[CVFoldResult]) -> Splits:
    """The folds of the plain fit; of prospective ones the sessions to come are in neither."""
    names = np.array(problem.sessions)
    shape = (len(folds), len(names))
    train = np.array([np.isin(names, fold.training_session_ids) for fold in folds], bool)
    test = np.array([np.isin(names, fold.test_session_ids) for fold in folds], bool)
    return Splits(train.reshape(shape), test.reshape(shape))


def _climb(
    fit: FitResult,
    problem: Problem,
    held_out: np.ndarray | None,
    plain: Parameters,
    num_kinds: int,
    n_starts: int,
    seed: int,
    tol: float,
) -> list[KindsFit]:
    """Climb from every start on one set of training sessions."""
    model, settings = fit.specification, fit.settings
    prior = kinds_prior(
        model.prior(fit.num_states, settings),
        np.asarray(plain.initial_probs),
        np.asarray(plain.transition_matrix),
        SESSIONS,
        TRANSITIONS,
    )
    free, data = np.asarray(model.free(fit.num_states).emission), problem.data(held_out)
    limits = {"max_iters": settings.max_iters}
    return [
        jax.tree.map(np.asarray, maximize_kinds(start, data, prior, free, tol, **limits))
        for start in _starts(plain, num_kinds, n_starts, seed)
    ]


def _ordered(end: KindsFit) -> KindsFit:
    """Kinds from the calmest, by how often its sessions would stay in their states."""
    params = end.params
    stay = np.diagonal(params.transition_matrix, axis1=1, axis2=2).mean(1)
    order = np.argsort(-stay, kind="stable")
    shares, initial, matrix = (np.asarray(field)[order] for field in params[:3])
    return end._replace(params=SessionKinds(shares, initial, matrix, params.emission_weights))


def _starts(plain: Parameters, num_kinds: int, number: int, seed: int) -> Sequence[SessionKinds]:
    """Kinds that differ in how readily they leave, and kinds drawn at random, around the plain."""
    matrix = np.asarray(plain.transition_matrix)
    initial = np.maximum(np.asarray(plain.initial_probs), 1e-3)
    k = len(initial)
    starts = []
    for start in range(number):
        rng = np.random.default_rng((seed, num_kinds, start))
        factors = rng.normal(0, 1, (num_kinds, k, k))
        begins = rng.normal(0, 1, (num_kinds, k))
        if start == 0:
            factors = np.linspace(-SPREAD, SPREAD, num_kinds)[:, None, None] + np.zeros((k, k))
            begins = np.zeros((num_kinds, k))
        away = np.maximum(matrix, 1e-6) * np.exp(factors) * (1 - np.eye(k))
        away /= np.maximum(1.0, away.sum(2, keepdims=True) / 0.5)
        begins = initial * np.exp(begins)
        starts.append(
            SessionKinds(
                np.full(num_kinds, 1 / num_kinds),
                begins / begins.sum(1, keepdims=True),
                away + np.eye(k) * (1 - away.sum(2, keepdims=True)),
                np.asarray(plain.emission_weights),
            )
        )
    return starts


def _num_parameters(fit: FitResult, num_kinds: int) -> int:
    """Shares, a chain for each kind, and the weights that are not frozen."""
    k = fit.num_states
    chain = (k - 1) + k * (k - 1)
    return fit.specification.num_parameters(k) + (num_kinds - 1) * (chain + 1)


def _fold(problem: Problem, splits: Splits, fold: int, end: KindsFit) -> BaselineFold[SessionKinds]:
    said = posteriors_of(problem, end.params)
    train = splits.train[fold][problem.session_index]
    sums = np.bincount(problem.session_index, said.log_likelihood, len(problem.sessions))
    return score_fold(
        problem,
        splits,
        fold,
        end.params,
        said.choice_probs,
        sums,
        float(said.log_likelihood[train].sum()),
        float(end.objective),
        bool(end.converged),
    )
