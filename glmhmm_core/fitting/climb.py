"""Climbs of one model on one set of training sessions, and how they go on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from glmhmm_core.fitting.starts import units

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

    def ending_at(self, top: "Climb") -> "Climb":
        """The same climb, whose last step leads to the end of another."""
        trace = np.append(self.trace, top.objective)
        return Climb(top.params, trace, top.begun, top.converged)

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
        return units(np.asarray(lanes.X), np.asarray(lanes.y).sum(1))

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
    done = int(before.begun.iterations) + 1
    trace = np.concatenate([before.trace[:done], fit.trace[done : int(fit.iterations) + 1]])
    return Climb(fit.params, trace, fit.begun, bool(fit.converged))


def best(climbs: Sequence[Climb], first: int = 0) -> int:
    """Index of the climb with the highest objective, of those from ``first`` on."""
    return max(range(first, len(climbs)), key=lambda r: climbs[r].objective)


def winner(climbs: Sequence[Climb], tol: float, first: int = 0) -> int:
    """Index of the climb that is kept, of those from ``first`` on: the one with the best end.

    One that converged goes before one that did not and is higher by rounding alone, less than
    ``tol`` of the objective: both came to the same optimum.
    """
    top = best(climbs, first)
    least = climbs[top].objective - tol * max(abs(climbs[top].objective), 1.0)
    alike = [r for r in range(first, len(climbs)) if climbs[r].objective >= least]
    return max(alike, key=lambda r: (climbs[r].converged, climbs[r].objective))
