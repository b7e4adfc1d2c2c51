"""A cohort of simulated mice in the International Brain Laboratory's task, with known truth.

Every random number is keyed by (seed, mouse, what it is for, session): a mouse does not depend
on how many mice there are, nor a session on how many sessions, and the unbiased trials alone
are the first trials of the whole sessions. Choices follow the same law in all blocks: these
mice do not learn which side a block prefers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.simulation.closed_loop import Simulation
from glmhmm_core.simulation.ibl_task import MIN_TRIALS, Stimuli, draw_stimuli, draw_times
from glmhmm_core.simulation.population import FEATURE_NAMES, TEXTBOOK_MICE, Population, draw_mouse
from glmhmm_core.simulation.simulate import simulate_subjects
from glmhmm_core.tasks.task import RegressorKind

#: One over the standard deviation of the signed contrast in Ashwood et al. (2022), .4775.
STIMULUS_SCALE = 2.0943

#: Minimum, quartiles and maximum of the sessions that a mouse of Ashwood et al. (2022) has.
ASHWOOD_SESSIONS = (36, 44, 52, 62, 85)

HISTORY: tuple[RegressorKind, ...] = ("previous_choice", "wsls")
CHOICE_NAMES = ("left", "right")
LEFT, RIGHT = 0, 1

#: What a stream of random numbers is for. Never 0: a seed's trailing zeros do not count.
_TRUTH, _SESSIONS, _LENGTH, _BLOCKS, _STIMULI, _CHOICES, _TIMES = range(1, 8)


@dataclass(frozen=True)
class SimulatedMouse:
    """One mouse: its true parameters, and its trials in order, T over all sessions.

    Attributes
    ----------
    subject
        Its name.
    params
        The parameters that made the choices.
    session_ids : str (T,)
        Session of each trial, ``<date>_<number>``.
    X : float64 (T, 4)
        Regressors stimulus, bias, previous_choice, wsls.
    y : int64 (T,)
        0 left, 1 right, -1 no choice.
    states : int64 (T,)
        True state: 0 engaged, 1 biased left, 2 biased right.
    feedback : int8 (T,)
        +1 rewarded, -1 not.
    stimuli
        Block, contrast and side of each trial.
    onset, response : float64 (T,)
        Seconds from the session's start to the stimulus and to the response.
    """

    subject: str
    params: Parameters
    session_ids: np.ndarray
    X: np.ndarray
    y: np.ndarray
    states: np.ndarray
    feedback: np.ndarray
    stimuli: Stimuli
    onset: np.ndarray
    response: np.ndarray


def simulate_ibl_cohort(
    num_mice: int = 6,
    *,
    seed: int = 0,
    population: Population = TEXTBOOK_MICE,
    sessions: Sequence[int] = (48, 64),
    trials: int | tuple[int, int] = (300, 700),
    no_choice_prob: float | Sequence[float] = 0.001,
) -> tuple[SimulatedMouse, ...]:
    """Simulate mice with known parameters.

    Parameters
    ----------
    num_mice
        How many.
    seed
        Root of all random numbers.
    population
        What their parameters are drawn from (``ASHWOOD_MICE`` for the full spread of the
        published cohort).
    sessions
        Sessions a mouse, as equally spaced quantiles: minimum, ..., maximum
        (``ASHWOOD_SESSIONS`` for the published cohort; one number for all mice alike).
    trials
        Trials a session, drawn evenly from a range; or one number for all sessions alike,
        such as ``UNBIASED_TRIALS`` for only what the published analysis uses.
    no_choice_prob
        Probability of a trial without a choice, one number or one per state.

    Returns
    -------
    tuple of SimulatedMouse
        Named ``sim_001``, ``sim_002``, ...

    Raises
    ------
    InputError
        If a range of trials is too short for all three blocks to occur in every session.

    Examples
    --------
    >>> (mouse,) = simulate_ibl_cohort(1, sessions=[3], trials=90)
    >>> mouse.X.shape, str(mouse.session_ids[-1])
    ((270, 4), '2019-03-06_001')
    """
    if not isinstance(trials, int) and not MIN_TRIALS <= trials[0] <= trials[1]:
        raise InputError(
            f"sessions of {trials} trials cannot all hold every block",
            where="simulate_ibl_cohort",
            remedy=f"Give a range that begins at {MIN_TRIALS} or above, or one number.",
        )
    mice = [_draw_mouse(mouse, seed, population, sessions, trials) for mouse in range(num_mice)]
    made = simulate_subjects(
        [mouse.params for mouse in mice],
        [mouse.X for mouse in mice],
        [mouse.code for mouse in mice],
        history={kind: [FEATURE_NAMES.index(kind)] for kind in HISTORY},
        rewarded=[np.where(mouse.stimuli.right, RIGHT, LEFT) for mouse in mice],
        baseline_class_idx=LEFT,
        no_choice_prob=no_choice_prob,
        seeds=[(seed, mouse, _CHOICES) for mouse in range(num_mice)],
    )
    pairs = zip(mice, made, strict=True)
    return tuple(_in_time(number, seed, mouse, run) for number, (mouse, run) in enumerate(pairs))


class _Mouse(NamedTuple):
    """What a mouse's choices are drawn from."""

    params: Parameters
    code: np.ndarray  # int (T,), session of each trial
    X: np.ndarray  # (T, 4), history still to come
    stimuli: Stimuli


def _rng(seed: int, mouse: int, purpose: int, session: int = 0) -> np.random.Generator:
    return np.random.default_rng((seed, mouse, purpose, session))


def _draw_mouse(
    mouse: int,
    seed: int,
    population: Population,
    sessions: Sequence[int],
    trials: int | tuple[int, int],
) -> _Mouse:
    rng = partial(_rng, seed, mouse)
    params = draw_mouse(population, rng(_TRUTH))
    ranks = np.linspace(0, 1, len(sessions))
    num_sessions = round(float(np.interp(rng(_SESSIONS).random(), ranks, sessions)))
    shown = []
    for session in range(num_sessions):
        length = trials
        if not isinstance(length, int):
            length = int(rng(_LENGTH, session).integers(length[0], length[1], endpoint=True))
        shown.append(draw_stimuli(length, rng(_BLOCKS, session), rng(_STIMULI, session)))
    stimuli = Stimuli(
        probability_left=np.concatenate([part.probability_left for part in shown]),
        contrast=np.concatenate([part.contrast for part in shown]),
        right=np.concatenate([part.right for part in shown]),
    )
    code = np.repeat(np.arange(num_sessions), [len(part.contrast) for part in shown])
    X = np.ones((len(code), len(FEATURE_NAMES)))
    X[:, FEATURE_NAMES.index("stimulus")] = STIMULUS_SCALE * stimuli.signed_contrast
    return _Mouse(params, code, X, stimuli)


def _in_time(number: int, seed: int, mouse: _Mouse, made: Simulation) -> SimulatedMouse:
    """The mouse with its choices and the times of its trials."""
    code, num_sessions = mouse.code, int(mouse.code[-1]) + 1
    dates = np.busday_offset(np.datetime64("2019-03-04"), np.arange(num_sessions))
    times = [
        draw_times(
            made.states[code == session],
            made.y[code == session] >= 0,
            made.feedback[code == session] == 1,
            _rng(seed, number, _TIMES, session),
        )
        for session in range(num_sessions)
    ]
    return SimulatedMouse(
        subject=f"sim_{number + 1:03d}",
        params=mouse.params,
        session_ids=np.array([f"{date}_001" for date in dates])[code],
        X=made.X,
        y=made.y,
        states=made.states,
        feedback=made.feedback,
        stimuli=mouse.stimuli,
        onset=np.concatenate([onset for onset, _ in times]),
        response=np.concatenate([response for _, response in times]),
    )
