"""Climb from every starting point of one model on one set of training sessions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import numpy as np

from glmhmm_core.engine.em import (
    GRADIENT_TOLERANCE,
    Fit,
    bytes_per_climb,
    maximize,
    maximize_together,
)
from glmhmm_core.engine.expectation import Data
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.starts import generator, starting_point

#: In cross-validation the restarts first climb until an iteration gains less than this ...
ROUGH_TOL = 1e-5
#: ... and one in so many, the highest, goes on to the tolerances.
FINALISTS = 4

#: Bytes that the climbs of one model may take together on an accelerator.
MEMORY_BUDGET = 8 * 1024**3

#: Told of every step of a fit: ``event`` is restart_start, restart_complete, cv_fold_start or
#: cv_fold_complete; ``fit_phase`` full_data or cross_validation; with subject, num_states,
#: restart, fold and log_prob where they apply. Calls may come from several threads.
ProgressCallback = Callable[[dict[str, Any]], None]

#: Runs a function over items, perhaps in parallel, and gives the results in order.
Map = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Climb:
    """Where one restart ended.

    Attributes
    ----------
    params
        Its last accepted parameters.
    trace : float64 (iterations + 1,)
        MAP objective after each iteration, never falling; -inf where it was never finite.
    converged
        Whether it met the tolerances.
    """

    params: Parameters
    trace: np.ndarray
    converged: bool

    @property
    def objective(self) -> float:
        """MAP objective at ``params``, nats."""
        return float(self.trace[-1])

    @property
    def iterations(self) -> int:
        """E-steps after the first."""
        return len(self.trace) - 1


@dataclass(frozen=True)
class Training:
    """What a model is fitted to, and how.

    Attributes
    ----------
    data
        The training sessions in lanes.
    specification, settings
        The model, and everything else; the number of folds is not used here.
    subject
        Name that random numbers depend on.
    fold
        Index of the fold held out; None for a fit to all sessions.
    """

    data: Data
    specification: Specification
    settings: FitSettings
    subject: str
    fold: int | None

    def climb(
        self, starts: Sequence[Parameters], tol: float, gradient_tol: float, run: Map
    ) -> Iterator[Climb]:
        """Climb from starting points of one number of states; results in their order.

        On processors each climb is a task of its own, so that none waits for another; on an
        accelerator they go in step, as many at a time as the memory budget holds.
        """
        arguments = (self.specification, self.data, self.settings, tol, gradient_tol)
        if jax.default_backend() == "cpu":
            yield from run(partial(_climb, *arguments), starts)
            return
        num_states = len(starts[0].initial_probs)
        size = max(1, MEMORY_BUDGET // bytes_per_climb(self.data, num_states))
        for first in range(0, len(starts), size):
            yield from _climb_together(*arguments, starts[first : first + size])

    def glm(self) -> np.ndarray:
        """Weights (C-1, M) of the model with one state, where starting points lie around."""
        model = self.specification.without_frozen()
        shape = (1, model.num_classes - 1, len(model.emission_names))
        start = Parameters(np.ones(1), np.ones((1, 1)), np.zeros(shape))
        climb = _climb(
            model, self.data, self.settings, self.settings.tol, GRADIENT_TOLERANCE, start
        )
        return np.asarray(climb.params.emission_weights[0])


def _climb(
    model: Specification,
    data: Data,
    settings: FitSettings,
    tol: float,
    gradient_tol: float,
    start: Parameters,
) -> Climb:
    k = len(start.initial_probs)
    prior, free = model.prior(k, settings), model.free(k)
    limits = {"max_iters": settings.max_iters}
    fit = maximize(model.start(start), data, prior, free, tol, gradient_tol, **limits)
    return _result(jax.tree.map(np.asarray, fit))


def _climb_together(
    model: Specification,
    data: Data,
    settings: FitSettings,
    tol: float,
    gradient_tol: float,
    starts: Sequence[Parameters],
) -> Iterator[Climb]:
    k = len(starts[0].initial_probs)
    prior, free = model.prior(k, settings), model.free(k)
    limits = {"max_iters": settings.max_iters}
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *map(model.start, starts))
    fits = maximize_together(stacked, data, prior, free, tol, gradient_tol, **limits)
    fits = jax.tree.map(np.asarray, fits)
    for r in range(len(starts)):
        yield _result(jax.tree.map(itemgetter(r), fits))


def _result(fit: Fit) -> Climb:
    trace = np.asarray(fit.trace)[: int(fit.iterations) + 1]
    return Climb(fit.params, trace, bool(fit.converged))


def climb_all(
    training: Training,
    num_states: int,
    glm: np.ndarray,
    given: Sequence[Parameters],
    run: Map,
    tell: ProgressCallback,
) -> list[Climb]:
    """Climb from every starting point of a model; those that were given come first.

    A fit to all sessions takes every restart to the tolerances, so that their agreement can be
    judged. A fold needs its best optimum alone: there the restarts that have fallen behind
    after a rough climb are left where they stand, not converged; a start that was given never is.
    """
    settings, fold = training.settings, training.fold
    phase = "full_data" if fold is None else "cross_validation"
    about = {"fit_phase": phase, "subject": training.subject, "num_states": num_states}
    about |= {} if fold is None else {"fold": fold}
    # With one state the objective is concave: any start leads to the one optimum.
    starts = 1 if num_states == 1 else settings.n_restarts + len(given)
    rough = fold is not None and starts > 1

    def start_of(restart: int) -> Parameters:
        tell({"event": "restart_start", "restart": restart, **about})
        if restart < len(given):
            return given[restart]
        drawn = restart - len(given)
        rng = generator(settings.seed, training.subject, num_states, drawn)
        return starting_point(glm, num_states, drawn, rng)

    def tell_end(restart: int, climb: Climb) -> Climb:
        end = {"event": "restart_complete", "restart": restart, "log_prob": climb.objective}
        tell(end | about)
        return climb

    points = [start_of(restart) for restart in range(starts)]
    tols = (settings.tol, GRADIENT_TOLERANCE)
    if not rough:
        return [tell_end(r, c) for r, c in enumerate(training.climb(points, *tols, run))]

    climbs = [
        replace(climb, converged=False) for climb in training.climb(points, ROUGH_TOL, np.inf, run)
    ]
    ranked = sorted(range(starts), key=lambda r: -climbs[r].objective)
    ahead = set(ranked[: -(-starts // FINALISTS)]) | set(range(len(given)))
    finalists = sorted(ahead)
    for restart in sorted(set(ranked) - ahead):
        tell_end(restart, climbs[restart])
    ends = training.climb([climbs[r].params for r in finalists], *tols, run)
    for restart, end in zip(finalists, ends, strict=True):
        trace = np.concatenate([climbs[restart].trace, end.trace[1:]])
        climbs[restart] = tell_end(restart, replace(end, trace=trace))
    return climbs


def best(climbs: Sequence[Climb], first: int = 0) -> int:
    """Index of the climb with the highest objective, of those from ``first`` on."""
    return max(range(first, len(climbs)), key=lambda r: climbs[r].objective)
