"""The population of one model, learned by empirical Bayes, with Laplace's method.

In turn, each subject climbs to the mode of its posterior under the population as it stands, and
the population is estimated anew from the subjects' likelihoods around those modes
(:mod:`~glmhmm_core.fitting.random_effects`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import jax
import numpy as np

from glmhmm_core.engine.curvature import gradient_and_hessian
from glmhmm_core.engine.em import maximize
from glmhmm_core.engine.expectation import Data
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.free_parameters import FreeParameters, free_parameters
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.random_effects import Expansions, Hyperprior, estimate_population
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.fitting.specification import Specification

#: Nats of approximate log marginal likelihood per subject below which a round ends the fit.
TOLERANCE = 1e-3
MAX_ROUNDS = 50
#: Standard deviation of the means' prior around the pooled fit's log-odds, and mode of the prior
#: of their spreads.
ODDS_WIDTH, ODDS_SCALE = 2.0, 1.0
#: Spreads at first, in their scales.
BEGIN = 0.5


@dataclass(frozen=True)
class Level:
    """The population of one model.

    Attributes
    ----------
    num_states
        K.
    specification
        The model; its ``population`` is what was learned.
    log_marginal : float64 (rounds,)
        Approximate log marginal likelihood of all subjects (Laplace) with the log density of
        mean and spread, nats, after each round.
    converged
        Whether the last round changed it by less than ``TOLERANCE`` nats a subject.
    """

    num_states: int
    specification: Specification
    log_marginal: np.ndarray
    converged: bool

    @property
    def prior(self) -> PopulationPrior | None:
        """What was learned; None for a single subject, whose priors are the ordinary ones."""
        return self.specification.population


def learn_level(
    fit: FitResult, start: Parameters, data: Sequence[Data], pool: ThreadPoolExecutor
) -> Level:
    """Learn the population of one model.

    Parameters
    ----------
    fit
        The pooled fit of the model, for its priors and tolerances.
    start
        Where all subjects begin, and what the population's log-odds are expected around: fitted
        to the same data pooled.
    data
        The subjects' training data; of one subject alone there is nothing to learn.
    pool
        Threads for the subjects' climbs.
    """
    if len(data) == 1:
        return Level(fit.num_states, fit.specification, np.empty(0), True)
    start = fit.specification.start(start)
    named = free_parameters(fit, int(np.argmax(start.initial_probs)))
    mean = named.values(start)
    hyper = hyperprior(fit, named, mean)
    sd = BEGIN * hyper.scale
    at: list[Parameters] = [start] * len(data)
    trace: list[float] = []
    converged = False
    while True:
        prior = PopulationPrior.of(mean, sd, named.index, named.reference, start)
        climb = _Climb(fit, named, prior)
        ends = list(pool.map(climb.run, at, data))
        at = [end.params for end in ends]
        marginal = sum(end.log_marginal for end in ends) + hyper.log_density(mean, sd)
        converged = bool(trace) and bool(abs(marginal - trace[-1]) < TOLERANCE * len(data))
        trace.append(float(marginal))
        if converged or len(trace) == MAX_ROUNDS:
            learned = replace(fit.specification, population=prior)
            return Level(fit.num_states, learned, np.array(trace), converged)
        precision = 1 / sd**2
        points = np.array([named.values(params) for params in at])
        given = Expansions(
            at=points,
            slope=np.array([end.gradient for end in ends]) + precision * (points - mean),
            information=np.array([end.information for end in ends]) - np.diag(precision),
        )
        mean, sd = estimate_population(given, hyper, sd)


def hyperprior(fit: FitResult, named: FreeParameters, pooled: np.ndarray) -> Hyperprior:
    """What is assumed of mean and spread: as wide as an ordinary prior of a single subject.

    Weights, of choices and of transitions: mean around zero, of the prior scales; log-odds: around
    those of the pooled fit.
    """
    model = fit.specification
    scales = {
        "weight": dict(zip(model.emission_names, model.emission_scale, strict=True)),
        "transition_weight": dict(zip(model.transition_names, model.transition_scale, strict=True)),
    }
    keys = named.keys.select("parameter", "feature").rows()
    of_weight = np.array([parameter in scales for parameter, _ in keys])
    width = np.array([scales.get(what, {}).get(feature, ODDS_WIDTH) for what, feature in keys])
    return Hyperprior(
        center=np.where(of_weight, 0.0, pooled),
        width=width,
        # Log-odds, and weights without a prior, have no scale of their own: one.
        scale=np.where(of_weight & np.isfinite(width), width, ODDS_SCALE),
    )


@dataclass(frozen=True)
class _End:
    """One subject's mode under the population, and its posterior there.

    Attributes
    ----------
    params
        The mode.
    gradient, information : (P,), (P, P)
        Of the log posterior, the information being minus its Hessian; free coordinates.
    log_marginal
        Laplace's approximation of the log probability of the subject's choices, nats.
    """

    params: Parameters
    gradient: np.ndarray
    information: np.ndarray
    log_marginal: float


@dataclass(frozen=True)
class _Climb:
    """The climb of any subject to its mode under the population as it stands.

    Attributes
    ----------
    fit
        The pooled fit of the model, for its tolerances and frozen weights.
    named
        Its free coordinates.
    population
        Mean and spread at this round.
    """

    fit: FitResult
    named: FreeParameters
    population: PopulationPrior

    def run(self, start: Parameters, data: Data) -> _End:
        """Climb to a subject's mode and look around."""
        settings, k = self.fit.settings, self.fit.num_states
        prior, free = self.population.prior(), self.fit.specification.free(k)
        fit = maximize(start, data, prior, free, settings.tol, max_iters=settings.max_iters)
        gradient, hessian = map(np.asarray, gradient_and_hessian(fit.params, data, prior, free))
        index = self.named.index
        information = -hessian[np.ix_(index, index)]
        # At a mode it is positive; a climb that was cut short may not be at one.
        eigenvalues = np.maximum(np.linalg.eigvalsh(information), 1e-8)
        objective = float(np.nanmax(np.asarray(fit.trace)))
        volume = 0.5 * (len(index) * np.log(2 * np.pi) - np.log(eigenvalues).sum())
        return _End(
            jax.tree.map(np.asarray, fit.params), gradient[index], information, objective + volume
        )
