"""The hierarchical fit: subjects drawn from a population whose mean and spread are learned.

Every weight of every state, and every log-odds of the chain, is normal over subjects: empirical
Bayes, by Laplace's method. In turn, each subject climbs to the mode of its posterior under the
population as it stands, and the population is estimated anew from the subjects' likelihoods
around those modes (:mod:`~glmhmm_core.fitting.random_effects`). States keep the population's
numbers, since all begin at the pooled fit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import jax
import numpy as np

from glmhmm_core.design.design import Design
from glmhmm_core.engine.curvature import gradient_and_hessian
from glmhmm_core.engine.em import maximize
from glmhmm_core.engine.expectation import Data
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.fingerprint import data_hash, sources_hash
from glmhmm_core.fitting.free_parameters import FreeParameters, free_parameters
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.random_effects import Expansions, Hyperprior, estimate_population
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.workers import available_cores

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


@dataclass(frozen=True)
class Hierarchy:
    """A version of the hierarchical fit: every model's population, for all sessions and each fold.

    Attributes
    ----------
    fingerprint
        Hash of what made it: the pooled fit, the subjects' data and the sources.
    population
        Fingerprint of the pooled fit that it began at.
    subjects
        Whose data are in it.
    settings
        How subjects are fitted, but for their priors.
    choice_names, baseline_class_idx
        As in a design.
    levels
        By number of states, ascending.
    folds
        The same, for each fold of held-out sessions, learned without them.
    notes
        What is to be known of it, one sentence each.
    """

    fingerprint: str
    population: str
    subjects: tuple[str, ...]
    settings: FitSettings
    choice_names: tuple[str, ...]
    baseline_class_idx: int
    levels: tuple[Level, ...]
    folds: tuple[tuple[Level, ...], ...]
    notes: tuple[str, ...] = ()

    def level(self, num_states: int, fold: int | None = None) -> Level:
        """The population of one model, of all sessions or without a fold's."""
        levels = self.levels if fold is None else self.folds[fold]
        return next(level for level in levels if level.num_states == num_states)


def hierarchy_fingerprint(
    designs: Mapping[str, Design], pooled: SubjectFits, num_states: Sequence[int]
) -> str:
    """Hash of everything that decides a hierarchical fit, as 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{pooled.fingerprint}{sorted(set(num_states))}".encode())
    for subject in sorted(designs):
        digest.update(data_hash(designs[subject]).encode())
    digest.update(sources_hash().encode())
    return digest.hexdigest()


def fit_hierarchy(
    designs: Mapping[str, Design], pooled: SubjectFits, num_states: Sequence[int]
) -> Hierarchy:
    """Learn how the subjects of a cohort are spread around their mean, for every model.

    Parameters
    ----------
    designs
        The subjects, by name, of one design.
    pooled
        All of them fitted as one (:func:`~glmhmm_core.fitting.population.fit_population`) with
        the priors, folds and seed to use here; for a single subject, its own fit.
    num_states
        The models, of those that ``pooled`` has.

    Raises
    ------
    InputError
        If a model is not in ``pooled``, or has transition regressors.
    """
    subjects = tuple(sorted(designs))
    known = {fit.num_states: fit for fit in pooled.fits}
    missing = sorted(set(num_states) - set(known))
    if missing or not subjects:
        raise InputError(
            f"the pooled fit has no model of {missing} states" if missing else "no subjects",
            where="hierarchical fit",
            remedy="Fit the population with these numbers of states, and one subject at least.",
        )
    notes: tuple[str, ...] = ()
    if len(subjects) == 1:
        notes = (
            f"{subjects[0]} is alone: a single subject has no population to learn from, "
            "and its priors are the ordinary ones.",
        )
    models = [known[k] for k in sorted(set(num_states))]
    parts = []
    with ThreadPoolExecutor(available_cores(), "hierarchy") as pool:
        for fold in (None, *range(models[0].settings.cv_folds)):
            data = [_data(designs[subject], models[0], fold) for subject in subjects]
            parts.append(tuple(_learn(fit, fold, data, pool) for fit in models))
    return Hierarchy(
        hierarchy_fingerprint(designs, pooled, num_states),
        pooled.fingerprint,
        subjects,
        models[0].settings,
        pooled.choice_names,
        models[0].baseline_class_idx,
        parts[0],
        tuple(parts[1:]),
        notes,
    )


def _data(design: Design, fit: FitResult, fold: int | None) -> Data:
    """One subject's sessions, without those of the fold."""
    problem = Problem.of_design(design.driven_by(()))
    if fold is None:
        return problem.data()
    folds = problem.folds(fit.settings.cv_folds, fit.settings.seed)
    return problem.data(folds[problem.session_index] == fold)


def _learn(
    fit: FitResult, fold: int | None, data: Sequence[Data], pool: ThreadPoolExecutor
) -> Level:
    """The population of one model on the subjects' training data."""
    if fit.transition_names:
        raise InputError(
            "transitions have regressors",
            where="hierarchical fit",
            remedy="Fit it to models with a constant chain.",
        )
    if len(data) == 1:
        return Level(fit.num_states, fit.specification, np.empty(0), True)
    start = fit.fitted_params if fold is None else fit.cv_metrics[fold].fitted_params
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

    Weights: mean around zero, of the prior scales; log-odds: around those of the pooled fit.
    """
    scale = dict(zip(fit.emission_names, fit.specification.emission_scale, strict=True))
    of_weight = (named.keys["parameter"] == "weight").to_numpy()
    features = named.keys["feature"].to_list()
    width = np.array([scale.get(feature, ODDS_WIDTH) for feature in features])
    return Hyperprior(
        center=np.where(of_weight, 0.0, pooled),
        width=width,
        # Where there is no prior, spreads of log-odds still have a unit: one.
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
