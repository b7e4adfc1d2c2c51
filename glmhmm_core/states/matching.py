"""States of one fit told as the states of another: which is which, how surely, and if at all.

States have no order of their own, so that those of two fits are matched by what they are. The
cost of taking a state for a reference state is the mean of three distances between 0 and 1, by
the weights of ``SHARES``:

choices
    Mean over trials of the total variation between the two states' choice probabilities: what
    their weights do, whatever the units of the regressors and the class they are relative to.
posterior
    1 - sum of min / sum of max of the two states' smoothed probabilities (Ruzicka), both models
    looking at the same trials.
dwell
    1 - the shorter over the longer expected stay, at the transition regressors' zero.

The assignment of least total cost is found exactly (Hungarian method). Its margin is what the
next best assignment costs more.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import others
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.choice_laws import choice_laws
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult

#: Weights of the three distances. A stay says least of what a state is: biased ones are alike.
SHARES = {"choices": 0.4, "posterior": 0.4, "dwell": 0.2}
#: Total cost by which the best assignment must beat the next.
MARGIN = 0.25
#: Cost from which a state is not what it was matched to.
LARGEST_COST = 0.5

MATCH_SCHEMA: dict[str, pl.DataType] = {
    "state_idx": pl.Int64(),
    "reference_idx": pl.Int64(),  # null: matched to none
    "cost": pl.Float64(),  # 0 alike, 1 nothing in common; null where matched to none
    "choices": pl.Float64(),  # its three parts
    "posterior": pl.Float64(),
    "dwell": pl.Float64(),
    "margin": pl.Float64(),  # what the best assignment without this pair costs more; null: none
    "ambiguous": pl.Boolean(),  # of the whole match
    "reason": pl.String(),  # why; null unless ambiguous
}


@dataclass(frozen=True)
class StateMatch:
    """Which reference state each state is.

    Attributes
    ----------
    reference : int (K,)
        Matched reference state of each state, -1 where there are fewer of those.
    costs : dict of float64 (K, reference K)
        Every pair's ``total`` cost and its parts.
    margins : float64 (K,)
        What the best assignment without the state's pair costs more; infinity if there is none.
    total
        Cost of the assignment, summed over states.
    ambiguous
        Whether the states must not be taken for the reference's without a look: another
        assignment is nearly as good, a state is unlike its match, or numbers differ.
    reason
        Why, as sentences; empty unless ambiguous.
    """

    reference: np.ndarray
    costs: dict[str, np.ndarray]
    margins: np.ndarray
    total: float
    ambiguous: bool
    reason: str

    @property
    def margin(self) -> float:
        """What the next best assignment costs more; infinity if there is none."""
        return float(self.margins.min())

    @property
    def order(self) -> list[int]:
        """States in the order of the reference, those without a match behind."""
        far = np.iinfo(np.int64).max
        place = np.where(self.reference < 0, far, self.reference)
        return [int(k) for k in np.argsort(place, kind="stable")]

    def table(self) -> pl.DataFrame:
        """One row per state, as ``MATCH_SCHEMA``."""
        rows = []
        for k, j in enumerate(self.reference.tolist()):
            parts = [float(self.costs[name][k, j]) for name in ("total", *SHARES)]
            margin = float(self.margins[k])
            rows.append(
                (
                    *((k, None, *[None] * 4) if j < 0 else (k, j, *parts)),
                    *(margin if np.isfinite(margin) else None, self.ambiguous),
                    self.reason or None,
                )
            )
        return pl.DataFrame(rows, schema=MATCH_SCHEMA, orient="row")


def match_states(fit: FitResult, reference: FitResult) -> StateMatch:
    """Match the states of a fit to those of a reference, such as the pooled fit.

    Both models look at the fit's trials; the reference may have been fitted to others, and its
    chain may be constant where the fit's has transition regressors.

    Raises
    ------
    InputError
        If the models have other regressors, choices or baselines.
    """
    constant = not reference.transition_names
    for what in ("emission_names", "transition_names", "num_classes", "baseline_class_idx"):
        if what == "transition_names" and constant:
            continue
        if getattr(fit, what) != getattr(reference, what):
            raise InputError(
                f"{what} is {getattr(fit, what)}, the reference's {getattr(reference, what)}",
                where="matching states",
                remedy="Match fits of one design.",
            )
    return match_parameters(fit.fitted_params, reference.fitted_params, problem_of(fit))


def match_parameters(
    params: Parameters,
    reference: Parameters,
    problem: Problem,
    allowed: np.ndarray | None = None,
) -> StateMatch:
    """Match the states of one model to those of another on a subject's trials.

    ``allowed`` is false for pairs (K, reference K) that must not be matched, such as states with
    other frozen weights.
    """
    parts = {
        "choices": _choice_distance(
            choice_laws(params, problem.X), choice_laws(reference, problem.X)
        ),
        "posterior": _overlap_distance(
            problem.posteriors(params).smoothed, problem.posteriors(reference).smoothed
        ),
        "dwell": _dwell_distance(
            np.diag(params.transition_matrix), np.diag(reference.transition_matrix)
        ),
    }
    return assign(parts, allowed)


def assign(parts: dict[str, np.ndarray], allowed: np.ndarray | None = None) -> StateMatch:
    """Match states by distances (K, reference K) of every pair, by name as in ``SHARES``."""
    cost = np.sum([share * parts[name] for name, share in SHARES.items()], axis=0)
    if allowed is not None:
        # A cost beyond that of any whole assignment.
        cost = np.where(allowed, cost, float(max(cost.shape)) + 1.0)
    states, references = linear_sum_assignment(cost)
    total = float(cost[states, references].sum())
    matched = np.full(len(cost), -1)
    matched[states] = references
    margins = np.array([_without(cost, k, matched[k]) - total for k in range(len(cost))])
    # Never below zero but for rounding.
    margins = np.maximum(margins, 0.0)
    doubts = []
    if cost.shape[0] != cost.shape[1]:
        doubts.append(f"{cost.shape[0]} states are matched to {cost.shape[1]}.")
    if margins.min() < MARGIN:
        doubts.append(f"Another assignment costs only {margins.min():.2f} more.")
    doubts += [
        f"State {k} is unlike reference state {j}: cost {cost[k, j]:.2f}."
        for k, j in zip(states, references, strict=True)
        if cost[k, j] > LARGEST_COST
    ]
    costs = {"total": cost, **parts}
    return StateMatch(matched, costs, margins, total, bool(doubts), " ".join(doubts))


def reorder(params: Parameters, order: list[int]) -> Parameters:
    """The same model with its states numbered otherwise: new state i was ``order[i]``."""
    driven = params.transition_weights
    k = len(order)
    if driven is not None:
        full = np.zeros((k, k, np.shape(driven)[2]))
        full[np.arange(k)[:, None], others(k)] = driven
        driven = full[np.ix_(order, order)][np.arange(k)[:, None], others(k)]
    return Parameters(
        np.asarray(params.initial_probs)[order],
        np.asarray(params.transition_matrix)[np.ix_(order, order)],
        np.asarray(params.emission_weights)[order],
        driven,
    )


def renumbered(fit: FitResult, order: list[int]) -> FitResult:
    """The same fit with its states numbered otherwise: new state i was ``order[i]``.

    States with frozen weights of their own must keep their numbers.
    """
    return replace(
        fit,
        fitted_params=reorder(fit.fitted_params, order),
        smoothed_state_probs=fit.smoothed_state_probs[:, order],
        predictive_state_probs=fit.predictive_state_probs[:, order],
        cv_metrics=tuple(
            replace(fold, fitted_params=reorder(fold.fitted_params, order))
            for fold in fit.cv_metrics
        ),
    )


def _without(cost: np.ndarray, state: int, reference: int) -> float:
    """Least total cost of an assignment in which this state is matched otherwise."""
    size = max(cost.shape)
    square = np.zeros((size, size))  # where numbers differ, a state may be matched to none
    square[: cost.shape[0], : cost.shape[1]] = cost
    dear = float(cost.sum()) + 1.0  # than any assignment
    if reference >= 0:
        square[state, reference] = dear
    else:
        square[state, cost.shape[1] :] = dear
    total = float(square[linear_sum_assignment(square)].sum())
    return total if total < dear else np.inf


def _choice_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = [[np.abs(a[:, k] - b[:, j]).sum(1).mean() / 2 for j in range(b.shape[1])]
             for k in range(a.shape[1])]  # fmt: skip
    return np.array(pairs)


def _overlap_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - sum of min / sum of max of columns (T, K) and (T, K'); 1 where both are never."""
    least = np.array([[np.minimum(p, q).sum() for q in b.T] for p in a.T])
    # min + max = sum
    most = a.sum(0)[:, None] + b.sum(0)[None] - least
    return 1 - np.divide(least, most, out=np.zeros_like(least), where=most > 0)


def _dwell_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - shorter over longer of the stays of two vectors of self-transitions."""
    leave_a, leave_b = (np.maximum(1 - p, 1e-12) for p in (a, b))
    pairs = leave_a[:, None], leave_b[None, :]
    return 1 - np.minimum(*pairs) / np.maximum(*pairs)
