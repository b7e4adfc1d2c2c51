"""Fit every model to one subject: on all sessions, and with each fold's sessions held out."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.climb import Climb, Map, ProgressCallback, Training, winner
from glmhmm_core.fitting.optimum import choose_optimum
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.race import climb_all
from glmhmm_core.fitting.remarks import data_remarks, fit_remarks
from glmhmm_core.fitting.result import CVFoldResult, FitResult
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification

T = TypeVar("T")


@dataclass(frozen=True)
class Candidates(Generic[T]):
    """The best of a model's restarts, and where the start from the population's fit ended."""

    own: T
    population: T | None = None


@dataclass(frozen=True)
class Start:
    """An earlier fit of one model to start from.

    Attributes
    ----------
    params
        Fitted to all of its sessions.
    folds
        The same fit without the sessions of each of its folds; None where ``params`` are to
        serve for every fold, whatever they were fitted to.
    """

    params: Parameters
    folds: Sequence[CVFoldResult] | None = None

    def without(self, sessions: Set[str]) -> Parameters | None:
        """Parameters that were not trained on any of these sessions, if there are some."""
        if self.folds is None:
            return self.params
        unseen = (f for f in self.folds if sessions.isdisjoint(f.training_session_ids))
        fold = next(unseen, None)
        return fold.fitted_params if fold else None


@dataclass(frozen=True)
class Job:
    """All models of one subject on one set of training sessions.

    Attributes
    ----------
    problem, settings, subject
        The data, how to fit them, and the name that random numbers depend on.
    specifications
        Number of states -> the model, ascending.
    population
        Number of states -> parameters of the population's fit without the same sessions.
    warm_starts
        Number of states -> parameters to start from too, besides the restarts.
    fold
        Index of the held-out fold; None to fit all sessions.
    """

    problem: Problem
    specifications: Mapping[int, Specification]
    settings: FitSettings
    subject: str
    population: Mapping[int, Parameters]
    warm_starts: Mapping[int, Parameters]
    fold: int | None

    def held_out(self) -> np.ndarray | None:
        """True on the trials of the held-out sessions, bool (T,); None to fit all."""
        if self.fold is None:
            return None
        folds = self.problem.folds(self.settings.cv_folds, self.settings.seed)
        return folds[self.problem.session_index] == self.fold

    def run(self, run: Map, tell: ProgressCallback) -> "list[Candidates[Any]]":
        """Fit the models: results of all sessions, or of the fold, by number of states."""
        held_out = self.held_out()
        num_states = tuple(self.specifications)
        data, model = self.problem.data(held_out), self.specifications[num_states[0]]
        training = Training(data, model, self.settings, self.subject, self.fold)
        if self.fold is not None:
            tell({"event": "cv_fold_start", "subject": self.subject, "fold": self.fold})
        drawn = self.settings.n_restarts or set(num_states) - {*self.population, *self.warm_starts}
        glm = training.glm() if drawn else np.empty(0)
        # Each job begins with another model, so that programs are compiled side by side.
        turn = 0 if self.fold is None else (self.fold + 1) % len(num_states)
        results: dict[int, Candidates[Any]] = {}
        for k in num_states[turn:] + num_states[:turn]:
            training = replace(training, specification=self.specifications[k])
            given = [starts[k] for starts in (self.population, self.warm_starts) if k in starts]
            climbs = climb_all(training, k, glm, given, run, tell)
            fit = (
                partial(self._result, climbs)
                if held_out is None
                else partial(self._fold_result, climbs, held_out)
            )
            if k in self.population and len(climbs) > 1:
                results[k] = Candidates(fit(winner(climbs, self.settings.tol, 1)), fit(0))
            else:
                results[k] = Candidates(fit(winner(climbs, self.settings.tol)))
        if held_out is not None:
            tell({"event": "cv_fold_complete", "subject": self.subject, "fold": self.fold})
        return [results[k] for k in num_states]

    def _result(self, climbs: Sequence[Climb], winner: int) -> FitResult:
        problem = self.problem
        if not np.isfinite(climbs[winner].objective):
            raise InputError(
                "the likelihood is not finite at any starting point",
                where=self.subject,
                remedy="Look for regressors of an extreme scale.",
            )
        posteriors = problem.posteriors(climbs[winner].params)
        num_states = len(climbs[winner].params.initial_probs)
        model = self.specifications[num_states]
        traces = np.full((len(climbs), max(c.iterations for c in climbs) + 1), np.nan)
        for row, climb in zip(traces, climbs, strict=True):
            row[: len(climb.trace)] = climb.trace
        return FitResult(
            fitted_params=climbs[winner].params,
            log_probability=climbs[winner].trace,
            best_restart=winner,
            restart_log_probability=traces,
            restart_objectives=np.array([c.objective for c in climbs]),
            restart_iterations=np.array([c.iterations for c in climbs]),
            restart_converged=np.array([c.converged for c in climbs]),
            y=problem.y,
            X=problem.X,
            U=problem.U,
            mask=problem.mask,
            session_ids=problem.session_ids,
            smoothed_state_probs=posteriors.smoothed,
            predictive_state_probs=posteriors.predictive,
            choice_probs=posteriors.choice_probs,
            raw_log_likelihood=float(posteriors.log_likelihood.sum()),
            accuracy=_accuracy(posteriors.choice_probs, problem.y, problem.mask),
            num_states=num_states,
            baseline_class_idx=problem.baseline_class_idx,
            specification=model,
            settings=self.settings,
            remarks=(
                *data_remarks(problem, model),
                *fit_remarks(climbs[winner].params, problem, model),
            ),
        )

    def _fold_result(
        self, climbs: Sequence[Climb], held_out: np.ndarray, winner: int
    ) -> CVFoldResult:
        fold = int(self.fold or 0)
        return score_fold(self.problem, fold, ~held_out, held_out, climbs[winner], winner)


def score_fold(
    problem: Problem, fold: int, trained: np.ndarray, tested: np.ndarray, climb: Climb, winner: int
) -> CVFoldResult:
    """Score a model that was fitted to some sessions of a problem on others.

    Parameters
    ----------
    fold
        Index of the fold.
    trained, tested : bool (T,)
        Trials of the sessions on either side.
    climb, winner
        Where the fit to the training sessions ended, and which of its starts that was.
    """
    # Sessions are independent, so one pass over all of them scores both sides of the fold.
    posteriors = problem.posteriors(climb.params)
    test, train = problem.mask & tested, problem.mask & trained
    counts = np.bincount(problem.y[train], minlength=problem.num_classes) + 0.5
    frequencies = np.log(counts / counts.sum())
    names = np.array(problem.sessions)
    session = problem.session_index[test]
    out, inside = np.zeros((2, len(names)), bool)
    out[problem.session_index[tested]] = True
    inside[problem.session_index[trained]] = True
    sums = np.bincount(session, posteriors.log_likelihood[test], len(names))[out]
    session_choices = np.bincount(session, minlength=len(names))[out]
    return CVFoldResult(
        fold_index=fold,
        training_session_ids=tuple(names[inside].tolist()),
        test_session_ids=tuple(names[out].tolist()),
        training_trial_count=int(train.sum()),
        test_trial_count=int(test.sum()),
        training_log_likelihood_per_trial=_mean(posteriors.log_likelihood[train]),
        test_log_likelihood_per_trial=_mean(posteriors.log_likelihood[test]),
        baseline_log_likelihood_per_trial=_mean(frequencies[problem.y[test]]),
        training_accuracy=_accuracy(posteriors.choice_probs, problem.y, train),
        test_accuracy=_accuracy(posteriors.choice_probs, problem.y, test),
        best_restart=winner,
        final_training_objective=climb.objective,
        converged=climb.converged,
        test_session_log_likelihoods=tuple(sums.tolist()),
        test_session_trial_counts=tuple(session_choices.tolist()),
        fitted_params=climb.params,
    )


def _mean(values: np.ndarray) -> float:
    """Mean, NaN of nothing."""
    return float(values.mean()) if values.size else float("nan")


def _accuracy(choice_probs: np.ndarray, y: np.ndarray, among: np.ndarray) -> float:
    """Share of choices that are the most probable one given the choices before them."""
    return _mean((choice_probs.argmax(1) == y)[among].astype(np.float64))


def jobs_of(
    problem: Problem,
    specifications: Mapping[int, Specification],
    settings: FitSettings,
    subject: str,
    earlier: Mapping[int, Start],
    population: Sequence[FitResult] = (),
) -> list[Job]:
    """The fit to all sessions and one per fold, each from the population's fit to as much.

    No fold starts from a fit that saw its held-out sessions, of the population or an earlier one.
    """
    names = np.array(problem.sessions)
    dealt = problem.folds(settings.cv_folds, settings.seed) if settings.cv_folds else names

    def start(fit: FitResult, fold: int | None) -> Parameters | None:
        if fold is None:
            return fit.fitted_params
        # The fold of the same number, unless sessions that went or came in dealt folds anew.
        same_number = fit.cv_metrics[fold : fold + 1]
        theirs = Start(fit.fitted_params, (*same_number, *fit.cv_metrics))
        # Sessions of a pooled fit have their subject's name before theirs, those of its own not.
        held_out = names[dealt == fold].tolist()
        return theirs.without({*held_out, *(f"{subject}/{name}" for name in held_out)})

    def warm(fold: int | None) -> dict[int, Parameters]:
        if fold is None:
            return {k: before.params for k, before in earlier.items()}
        held_out = set(names[dealt == fold].tolist())
        found = {k: before.without(held_out) for k, before in earlier.items()}
        return {k: params for k, params in found.items() if params is not None}

    def shared(fold: int | None) -> dict[int, Parameters]:
        found = {fit.num_states: start(fit, fold) for fit in population}
        return {k: params for k, params in found.items() if params is not None}

    folds: list[int | None] = [None, *range(settings.cv_folds)]
    return [
        Job(
            problem,
            specifications,
            settings,
            subject,
            shared(fold),
            warm(fold),
            fold,
        )
        for fold in folds
    ]


def assemble(
    full: "Sequence[Candidates[FitResult]]", folds: "Sequence[Sequence[Candidates[CVFoldResult]]]"
) -> list[FitResult]:
    """The fits, by number of states, out of what the jobs gave: folds put in, optima chosen."""
    fits = []
    for i, candidates in enumerate(full):
        own = replace(candidates.own, cv_metrics=tuple(fold[i].own for fold in folds))
        if candidates.population is None:
            fits.append(own)
            continue
        # A fold that the population's fit had seen all of has only restarts, for both alike.
        theirs = tuple(fold[i].population or fold[i].own for fold in folds)
        shared = replace(candidates.population, cv_metrics=theirs)
        fits.append(choose_optimum(own, shared))
    return fits
