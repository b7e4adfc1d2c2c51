"""Dwells of states beside the chain's prediction: in paths drawn whole, never in decoded ones.

The most probable path is smoother than the truth: its dwells are longer than the chain's, so that
a correct model would be accused. What is seen are paths drawn from the posterior; what is predicted
are paths of the chain through sessions of the same lengths. A dwell that its session's end cuts
off is known to have lasted till there (Kaplan and Meier 1958), which counting it as complete would
not say.

If the model holds, a path drawn from the posterior is like one drawn from the chain: 5 % of them
lie outside of the range of 95 % of the chain's. The mean over posterior paths varies less than one
path does, so that it lies outside more rarely.
"""

from dataclasses import dataclass, replace

import numpy as np

from glmhmm_core.fitting.paths import posterior_paths
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult

#: Paths of the chain are drawn so many times as often as of the posterior.
CHAINS = 2


@dataclass(frozen=True)
class Dwells:
    """Share of a state's dwells that last longer than d = 1..D trials.

    Attributes
    ----------
    lasting, lower, upper : float64 (D,)
        Mean over posterior paths, and the range of 95 % of them.
    at_risk : float64 (D,)
        Dwells that are known to last at least d trials, mean over paths.
    predicted, predicted_lower, predicted_upper : float64 (D,)
        By the chain: the expected share, and the range of 95 % of its paths.
    outside : float64 (D,)
        Share of the posterior paths outside of that range: .05 on the average if the model holds.
    """

    lasting: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    at_risk: np.ndarray
    predicted: np.ndarray
    predicted_lower: np.ndarray
    predicted_upper: np.ndarray
    outside: np.ndarray


def dwells(fit: FitResult, num_paths: int = 100, seed: int = 0) -> list[Dwells]:
    """Dwells of each state of a fit, up to where fewer than one is at risk in a path.

    Parameters
    ----------
    fit
        Its parameters are taken as they are.
    num_paths
        Paths drawn from the posterior.
    seed
        Root of the random numbers.
    """
    problem, params = problem_of(fit), fit.fitted_params
    seen = posterior_paths(params, problem, num_paths, seed)
    # Without a choice the posterior is the chain's own law, at the data's transition regressors.
    nothing = replace(problem, y=np.full_like(problem.y, -1), mask=np.zeros_like(problem.mask))
    made = np.concatenate(
        [posterior_paths(params, nothing, num_paths, seed + 1 + i) for i in range(CHAINS)]
    )
    constant = None if fit.transition_names else np.diag(np.asarray(params.transition_matrix))
    return [
        _dwells(
            *survival(seen, problem.session_index, k),
            survival(made, problem.session_index, k)[0],
            None if constant is None else float(constant[k]),
        )
        for k in range(fit.num_states)
    ]


def survival(paths: np.ndarray, sessions: np.ndarray, state: int) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan-Meier estimate of each of N paths, and the dwells at risk: float64, int (N, D).

    The share of a state's dwells that last longer than d = 1..D trials, NaN where no dwell is at
    risk and some have not ended before.

    Parameters
    ----------
    paths : int (N, T)
    sessions : int (T,)
        Session of each trial; trials of a session in order.
    """
    order = np.argsort(sessions, kind="stable")
    paths, session = paths[:, order], sessions[order]
    first = np.concatenate([[True], session[1:] != session[:-1]])
    begins = np.broadcast_to(first, paths.shape).copy()
    begins[:, 1:] |= paths[:, 1:] != paths[:, :-1]
    at = np.flatnonzero(begins)
    lengths = np.diff(at, append=paths.size)
    ended = ~first[(at + lengths) % paths.shape[1]]  # a path's end is its first session's begin
    here = paths.ravel()[at] == state
    path, lengths, ended = at[here] // paths.shape[1], lengths[here], ended[here]
    longest = int(lengths.max(initial=0))

    def counted(which: np.ndarray) -> np.ndarray:
        cells = path[which] * longest + lengths[which] - 1
        return np.bincount(cells, minlength=len(paths) * longest).reshape(len(paths), longest)

    at_risk = counted(np.ones(len(path), bool))[:, ::-1].cumsum(1)[:, ::-1]
    left = np.divide(
        counted(ended), at_risk, out=np.zeros(at_risk.shape), where=at_risk > 0
    )  # fmt: skip
    lasting = np.cumprod(1 - left, 1)
    return np.where((at_risk > 0) | (lasting == 0), lasting, np.nan), at_risk


def _dwells(seen: np.ndarray, at_risk: np.ndarray, made: np.ndarray, stay: float | None) -> Dwells:
    """Summaries over paths; ``stay`` is a constant chain's probability of staying."""
    risk = at_risk.mean(0)
    span = int((risk >= 1).sum())  # beyond it most paths have no dwell
    seen, risk = seen[:, :span], risk[:span]
    wide = np.full((len(made), span), np.nan)
    known = min(span, made.shape[1])
    wide[:, :known] = made[:, :known]
    low, high = _range(wide)
    predicted = _mean(wide) if stay is None else stay ** np.arange(1, span + 1)
    beyond = np.where(np.isfinite(seen), (seen < low) | (seen > high), np.nan)
    return Dwells(_mean(seen), *_range(seen), risk, predicted, low, high, _mean(beyond))


def _mean(values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    total = np.where(there, values, 0.0).sum(0)
    count = there.sum(0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % of the finite values of each column; NaN of none."""
    low, high = np.full((2, values.shape[1]), np.nan)
    for d, column in enumerate(values.T):
        there = column[np.isfinite(column)]
        if len(there):
            low[d], high[d] = np.quantile(there, (0.025, 0.975))
    return low, high
