"""Climb from every starting point of one model on one set of training sessions."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import jax
import numpy as np

from glmhmm_core.engine.em import (
    GRADIENT_TOLERANCE,
    Begun,
    Fit,
    anew,
    bytes_per_climb,
    maximize,
    maximize_together,
)
from glmhmm_core.engine.expectation import Data
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.starts import generator, starting_point, units

#: In cross-validation restarts race: after climbing until an iteration gains less than so much,
#: relatively, only this share of them goes on. Of 24 models with 20 restarts each (simulated mice,
#: K = 2..5) 22 kept their best optimum; two of K = 5 lost .6 and 1 nat.
RACE = ((1e-4, 1 / 2), (1e-5, 1 / 6))
#: In a fit to all sessions they climb on to this gain, the best share of them to the tolerances;
#: of the others those that could still reach the best if they gained twice what these did.
#: All 24 models kept their best optimum.
ROUGH_TOL, FINALISTS, HOPE = 1e-6, 1 / 4, 2.0
#: Nats below the best within which a restart always goes on.
NEAR = 0.01
#: So many go on at least; and so few are not worth a race.
FEWEST, TOO_FEW = 2, 4

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
    begun
        What it takes to go on from ``params``.
    converged
        Whether it met the tolerances.
    """

    params: Parameters
    trace: np.ndarray
    begun: Begun
    converged: bool

    @classmethod
    def of(cls, start: Parameters) -> "Climb":
        """A climb that has yet to begin."""
        return cls(start, np.array([-np.inf]), anew(start), False)

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

    @cached_property
    def units(self) -> np.ndarray:
        """Of the regressors of the choice, float64 (M,): see :func:`.starts.units`."""
        lanes = self.data.lanes
        return units(np.asarray(lanes.X), np.asarray(lanes.y).sum(2))

    def climb(
        self, climbs: Sequence[Climb], tol: float, gradient_tol: float, run: Map
    ) -> Iterator[Climb]:
        """Go on with climbs of one number of states; results in their order.

        On processors each climb is a task of its own, so that none waits for another; on an
        accelerator they go in step, as many at a time as the memory budget holds.
        """
        arguments = (self.specification, self.data, self.settings, tol, gradient_tol)
        if jax.default_backend() == "cpu":
            yield from run(partial(_climb, *arguments), climbs)
            return
        if not climbs:
            return
        num_states = len(climbs[0].params.initial_probs)
        size = max(1, MEMORY_BUDGET // bytes_per_climb(self.data, num_states))
        for first in range(0, len(climbs), size):
            yield from _climb_together(*arguments, climbs[first : first + size])

    def glm(self) -> np.ndarray:
        """Weights (C-1, M) of the model with one state, where starting points lie around."""
        model = self.specification.without_frozen()
        shape = (1, model.num_classes - 1, len(model.emission_names))
        start = model.start(Parameters(np.ones(1), np.ones((1, 1)), np.zeros(shape)))
        tols = (self.settings.tol, GRADIENT_TOLERANCE)
        climb = _climb(model, self.data, self.settings, *tols, Climb.of(start))
        return np.asarray(climb.params.emission_weights[0])


def _climb(
    model: Specification,
    data: Data,
    settings: FitSettings,
    tol: float,
    gradient_tol: float,
    before: Climb,
) -> Climb:
    k = len(before.params.initial_probs)
    prior, free = model.prior(k, settings), model.free(k)
    limits = {"max_iters": settings.max_iters}
    fit = maximize(before.params, data, prior, free, tol, gradient_tol, before.begun, **limits)
    return _result(before, jax.tree.map(np.asarray, fit))


def _climb_together(
    model: Specification,
    data: Data,
    settings: FitSettings,
    tol: float,
    gradient_tol: float,
    before: Sequence[Climb],
) -> Iterator[Climb]:
    k = len(before[0].params.initial_probs)
    prior, free = model.prior(k, settings), model.free(k)
    params, begun = (
        jax.tree.map(lambda *parts: np.stack(parts), *column)
        for column in zip(*((climb.params, climb.begun) for climb in before), strict=True)
    )
    limits = {"max_iters": settings.max_iters}
    fits = maximize_together(params, data, prior, free, tol, gradient_tol, begun, **limits)
    fits = jax.tree.map(np.asarray, fits)
    for r, climb in enumerate(before):
        yield _result(climb, jax.tree.map(itemgetter(r), fits))


def _result(before: Climb, fit: Fit) -> Climb:
    done = before.iterations
    trace = np.concatenate([before.trace[:done], fit.trace[done : int(fit.iterations) + 1]])
    return Climb(fit.params, trace, fit.begun, bool(fit.converged))


def climb_all(
    training: Training,
    num_states: int,
    glm: np.ndarray,
    given: Sequence[Parameters],
    run: Map,
    tell: ProgressCallback,
) -> list[Climb]:
    """Climb from every starting point of a model; those that were given come first.

    Restarts that have fallen behind are left where they stand, not converged; a start that was
    given never is. In a fit to all sessions all others go on that could have reached the best
    optimum, so that their agreement can be judged; a fold needs its best optimum alone.
    """
    settings, fold = training.settings, training.fold
    phase = "full_data" if fold is None else "cross_validation"
    about = {"fit_phase": phase, "subject": training.subject, "num_states": num_states}
    about |= {} if fold is None else {"fold": fold}
    # With one state the objective is concave: any start leads to the one optimum.
    starts = 1 if num_states == 1 else settings.n_restarts + len(given)

    def start_of(restart: int) -> Climb:
        tell({"event": "restart_start", "restart": restart, **about})
        if restart < len(given):
            start = given[restart]
        else:
            drawn = restart - len(given)
            rng = generator(settings.seed, training.subject, num_states, drawn)
            start = starting_point(glm, training.units, num_states, drawn, rng)
        return Climb.of(training.specification.start(start))

    climbs = [start_of(restart) for restart in range(starts)]

    def go_on(restarts: Sequence[int], tol: float, gradient_tol: float) -> None:
        ends = training.climb([climbs[r] for r in restarts], tol, gradient_tol, run)
        for restart, end in zip(restarts, ends, strict=True):
            climbs[restart] = end

    def ahead(restarts: Sequence[int], share: float) -> list[int]:
        ranked = sorted(restarts, key=lambda r: -climbs[r].objective)
        number = max(FEWEST, math.ceil(share * starts))
        return sorted({*ranked[:number], *range(min(len(given), starts))})

    tols = (settings.tol, GRADIENT_TOLERANCE)
    finalists = list(range(starts))
    if starts > TOO_FEW and fold is not None:
        for tol, share in RACE:
            go_on(finalists, tol, np.inf)
            finalists = ahead(finalists, share)
    if starts > TOO_FEW and fold is None:
        go_on(finalists, ROUGH_TOL, np.inf)
        finalists = ahead(finalists, FINALISTS)
    before = [climb.objective for climb in climbs]
    go_on(finalists, *tols)
    if fold is None:
        most = max(climbs[r].objective - before[r] for r in finalists)
        needed = climbs[best(climbs)].objective - max(HOPE * most, NEAR)
        hopeful = [r for r in range(starts) if r not in finalists and before[r] >= needed]
        go_on(hopeful, *tols)
        finalists += hopeful
    for restart, climb in enumerate(climbs):
        if restart not in finalists:
            climbs[restart] = replace(climb, converged=False)
        tell(
            {
                "event": "restart_complete",
                "restart": restart,
                "log_prob": climb.objective,
                **about,
            }
        )
    return climbs


def best(climbs: Sequence[Climb], first: int = 0) -> int:
    """Index of the climb with the highest objective, of those from ``first`` on."""
    return max(range(first, len(climbs)), key=lambda r: climbs[r].objective)
