"""All restarts of one model: which go on, which are left, and which come to the same optimum."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from glmhmm_core.engine.em import GRADIENT_TOLERANCE
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.climb import Climb, Map, ProgressCallback, Training, best
from glmhmm_core.fitting.same_optimum import whose_end
from glmhmm_core.fitting.starts import generator, starting_point

#: In cross-validation restarts race: after climbing until an iteration gains less than so much,
#: relatively, only this share of them goes on. Of 24 models with 20 restarts each (simulated mice,
#: K = 2..5) 22 kept their best optimum; two of K = 5 lost .6 and 1 nat.
RACE = ((1e-4, 1 / 2), (1e-5, 1 / 6))
#: In a fit to all sessions they climb on to this gain, the best share of them to the tolerances;
#: of the others those that could still reach the best if they gained twice what these did.
#: All 24 models kept their best optimum.
ROUGH_TOL, FINALISTS, HOPE = 1e-6, 1 / 4, 2.0
#: On the way there, at these gains, the best lead: they climb to ``ROUGH_TOL`` at once, and those
#: that are seen to come to the same end wait for them.
RUNGS = (1e-4, 1e-5)
#: Nats below the best within which a restart always goes on.
NEAR = 0.01
#: So many go on at least; and so few are not worth a race.
FEWEST, TOO_FEW = 2, 4


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
    given never is. In a fit to all sessions all others that could have reached the best optimum
    end at their own, so that their agreement can be judged; where several are seen to lead to the
    same one, one of them climbs there for all. A fold needs its best optimum alone.
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

    race = _Race(training, [start_of(r) for r in range(starts)], len(given), run)
    if starts <= TOO_FEW:
        race.finish(range(starts))
    elif fold is None:
        race.run_all_sessions()
    else:
        race.run_fold()
    for restart, climb in enumerate(race.climbs):
        if restart not in race.finished:
            race.climbs[restart] = replace(climb, converged=False)
        tell(
            {
                "event": "restart_complete",
                "restart": restart,
                "log_prob": climb.objective,
                **about,
            }
        )
    return race.climbs


class _Race:
    """Restarts on their way.

    Those in ``finished`` have climbed to the tolerances; ``leader`` tells whose end a restart
    waits for.
    """

    def __init__(self, training: Training, climbs: list[Climb], given: int, run: Map) -> None:
        self.training, self.climbs, self.run = training, climbs, run
        self.given = range(min(given, len(climbs)))
        self.everyone = range(len(climbs))
        self.finished: set[int] = set()
        self.leader: dict[int, int] = {}

    def go_on(self, restarts: Iterable[int], tol: float, gradient_tol: float = np.inf) -> None:
        """Climb on to these tolerances."""
        restarts = list(restarts)
        ends = self.training.climb([self.climbs[r] for r in restarts], tol, gradient_tol, self.run)
        for restart, end in zip(restarts, ends, strict=True):
            self.climbs[restart] = end

    def finish(self, restarts: Iterable[int]) -> None:
        """Climb on to the end those that are not there yet."""
        left = sorted(set(restarts) - self.finished)
        self.go_on(left, self.training.settings.tol, GRADIENT_TOLERANCE)
        self.finished.update(left)

    def ahead(self, restarts: Iterable[int], number: int) -> list[int]:
        """The best so many of some restarts, and those given."""
        ranked = sorted(restarts, key=lambda r: -self.climbs[r].objective)
        return sorted({*ranked[:number], *self.given})

    def run_fold(self) -> None:
        """Find the best optimum."""
        going = list(self.everyone)
        for tol, share in RACE:
            self.go_on(going, tol)
            going = self.ahead(going, max(FEWEST, math.ceil(share * len(self.climbs))))
        self.finish(going)

    def run_all_sessions(self) -> None:
        """Find the best optimum, and which restarts lead there."""
        going, leaders = list(self.everyone), list[int]()
        for tol in RUNGS:
            self.go_on(going, tol)
            going = self.on_their_own(going, leaders)
            first = [r for r in self.ahead(going, FEWEST) if r in going]
            self.go_on(first, ROUGH_TOL)
            leaders += first
            going = self.on_their_own(going, leaders)
        self.go_on(going, ROUGH_TOL)
        alone = leaders + self.on_their_own(going, leaders)

        # The best of them climbs to its end first: now others may be seen to come there too.
        top = best(self.climbs)
        before = {r: self.climbs[r].objective for r in alone}
        self.finish([top])
        alone = [top, *self.on_their_own(alone, [top])]
        self.finish(self.ahead(alone, max(FEWEST, math.ceil(FINALISTS * len(self.climbs)))))
        most = max(self.climbs[r].objective - before[r] for r in self.finished)
        needed = self.climbs[best(self.climbs)].objective - max(HOPE * most, NEAR)
        self.finish(r for r in alone if before[r] >= needed)
        for restart in self.leader:
            if (end := self.end_of(restart)) in self.finished:
                self.climbs[restart] = self.climbs[restart].ending_at(self.climbs[end])
                self.finished.add(restart)

    def end_of(self, restart: int) -> int:
        """Which restart's end this one comes to: its own, or that of the last it waits for."""
        while restart in self.leader:
            restart = self.leader[restart]
        return restart

    def on_their_own(self, restarts: Iterable[int], leaders: Sequence[int]) -> list[int]:
        """Those that are neither leaders nor seen to come to the end of one: they wait for it.

        A start that was given waits for none: its states keep their order.
        """
        left = []
        ahead = [self.climbs[r] for r in leaders]
        for restart in sorted(set(restarts) - {*leaders}):
            mine = restart in self.given
            leader = None if mine else whose_end(self.climbs[restart], ahead, self.training)
            if leader is None:
                left.append(restart)
            else:
                self.leader[restart] = leaders[leader]
        return left
