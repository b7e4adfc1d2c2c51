"""Contenders of a comparison from one starting point: what each did, ours, and the floor."""

from dataclasses import dataclass
from statistics import median

import jax
import numpy as np

from benchmarks.evaluator import Model, log_likelihoods, stack
from benchmarks.iteration import flat
from benchmarks.numba_em import run_em
from benchmarks.subjects import Subject
from benchmarks.table import seconds
from benchmarks.timing import clock
from glmhmm_core.engine.em import Fit, maximize
from glmhmm_core.engine.parameters import Parameters, all_free, make_prior
from glmhmm_core.fitting import FitResult, fit_glmhmm

#: Nats within which two fits are the same optimum.
NEAR = 1e-3


@dataclass(frozen=True)
class Run:
    """What one contender did.

    Attributes
    ----------
    title
        Its name.
    compile_seconds, compiles_anew
        What it compiles, and whether at every call.
    trace : float64 (n, 3)
        Iterations, seconds and nats wherever it was judged.
    own_stop
        Iterations after which it stops by itself; 0 for the end of the trace.
    """

    title: str
    compile_seconds: float
    compiles_anew: bool
    trace: np.ndarray
    own_stop: int

    def row(self, best: float, climb: float, call: float) -> list[str]:
        """Its line of the table.

        Parameters
        ----------
        best
            Highest log-likelihood of all contenders.
        climb, call
            Seconds of our climb alone and of our whole call.
        """
        stops = np.flatnonzero(self.trace[:, 0] >= self.own_stop)
        stop = self.trace[stops[0] if len(stops) and self.own_stop else -1]
        near = np.flatnonzero(self.trace[:, 2] >= best - NEAR)
        arrived = self.trace[near[0]] if len(near) else self.trace[-1]
        over = "" if len(near) else "> "
        again = arrived[1] + self.compile_seconds * self.compiles_anew
        often = "every call" if self.compiles_anew else "once"
        return [
            self.title,
            f"{seconds(self.compile_seconds)}, {often}" if self.compile_seconds else "",
            seconds(self.trace[-1, 1] / self.trace[-1, 0]),
            f"{stop[0]:.0f} it., {seconds(stop[1])}",
            f"{max(best - stop[2], 0):.2g}",
            f"{over}{arrived[0]:.0f} it., {seconds(arrived[1])}",
            f"{max(best - arrived[2], 0):.2g}",
            f"{over}{arrived[1] / climb:.3g}x",
            f"{over}{again / call:.3g}x",
        ]


class Ours:
    """A fit of ours from one starting point: the climb alone, and the whole call.

    The call packs, validates, fits a GLM, climbs and computes the posteriors.
    """

    def __init__(self, subject: Subject, start: Parameters) -> None:
        self.subject, self.start = subject, start
        self.data = subject.problem().data()
        num_states = len(start.initial_probs)
        self.prior = make_prior(num_states, np.full(subject.X.shape[1], np.inf), 1.0, 0.0)
        began = [clock(self.climb), clock(self.call)]
        self.times: tuple[list[float], list[float]] = ([], [])
        self.take_turn(3)
        self.compile_seconds = sum(began) - sum(map(median, self.times))

    def climb(self) -> Fit:
        """Climb alone, on arrays that are prepared."""
        free = all_free(self.start)
        fit = maximize(self.start, self.data, self.prior, free, 1e-9, max_iters=1000)
        return jax.block_until_ready(fit)

    def call(self) -> FitResult:
        """Fit as a user does."""
        return fit_glmhmm(
            self.subject.y,
            self.subject.X,
            self.subject.session_ids,
            num_states=len(self.start.initial_probs),
            num_classes=2,
            warm_start=self.start,
            n_restarts=0,
            emission_prior_scale=np.inf,
            transition_concentration=1.0,
        )

    def take_turn(self, rounds: int) -> None:
        """Time both, some times."""
        for _ in range(rounds):
            self.times[0].append(clock(self.climb))
            self.times[1].append(clock(self.call))

    def runs(self) -> list[Run]:
        """Both, as contenders."""
        climb, call = self.climb(), self.call()
        runs = []
        for title, params, iterations, times, compiled in (
            ("this project, climb alone", climb.params, int(climb.iterations), self.times[0], 0.0),
            (
                "this project, fit_glmhmm",
                call.fitted_params,
                call.num_iterations,
                self.times[1],
                self.compile_seconds,
            ),
        ):
            model = stack([Model(*flat(params))])
            subject = self.subject
            (value,) = log_likelihoods(model, subject.X, subject.y, subject.bounds)
            trace = np.array([[iterations + 1, median(times), value]])
            runs.append(Run(title, compiled, False, trace, 0))
        return runs


def floor(subject: Subject, start: Parameters, target: float) -> Run:
    """Fit with the numba program on one core until it is near the target."""
    begin = flat(start)
    states, width = begin[2].shape
    kept: list = []

    def fit() -> None:
        none, counts = np.zeros(width), np.zeros((states, states))
        kept.append(
            run_em(subject.X, subject.y, subject.bounds, begin, none, counts, target=target)
        )

    first = clock(fit)
    times = [clock(fit) for _ in range(5)]
    trace = np.array([[kept[-1].e_steps, median(times), kept[-1].objective]])
    return Run("floor: numba, plain EM", first - median(times), False, trace, 0)
