"""Quasi-Newton ascent of several objectives side by side, one evaluation of all at a time.

For objectives whose gradient is dear and whose Hessian is dearer; see Nocedal & Wright 2006,
Numerical Optimization, ch. 6, for the update.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

#: Largest first step, and largest ever, in any norm of the coordinates.
FIRST, LONGEST = 0.5, 2.0
#: Share of the promised gain that a step must bring; shortest share of a step that is tried.
ENOUGH, SHORTEST = 1e-4, 1e-3


class Ascended(NamedTuple):
    """Where F lanes ended.

    Attributes
    ----------
    point : float64 (F, n)
    value, gradient : float64 (F,)
        Objective there, and its largest derivative.
    evaluations
        Of all lanes together.
    converged : bool (F,)
        Whether the gradient met the tolerance.
    """

    point: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    evaluations: int
    converged: np.ndarray


def ascend(
    evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    start: np.ndarray,
    tol: float,
    max_evaluations: int,
) -> Ascended:
    """Ascend from ``start`` (F, n) by BFGS with backtracking.

    Parameters
    ----------
    evaluate
        Points (F, n) to values (F,) and gradients (F, n); a lane's depend on its point alone.
    tol
        Largest derivative at which a lane has converged.
    """
    point = np.array(start, np.float64)
    lanes, size = point.shape
    value, gradient = evaluate(point)
    evaluations = 1
    inverse = np.tile(np.eye(size), (lanes, 1, 1))
    fresh, share = np.ones(lanes, bool), np.ones(lanes)
    stuck = ~np.isfinite(value)
    while evaluations < max_evaluations:
        active = (np.abs(gradient).max(1) > tol) & ~stuck
        if not active.any():
            break
        move = np.einsum("fij,fj->fi", inverse, gradient)
        longest = np.where(fresh, FIRST, LONGEST)
        length = np.maximum(np.linalg.norm(move, axis=1), 1e-300)
        move *= np.minimum(1.0, longest / length)[:, None]
        move *= (share * active)[:, None]
        new_value, new_gradient = evaluate(point + move)
        evaluations += 1
        promised = (move * gradient).sum(1)
        taken = active & (new_value >= value + ENOUGH * promised)  # False of NaN
        share = np.where(taken | ~active, 1.0, share / 4)
        # A quadratic model that has failed so often is worth less than none.
        failed = active & (share < SHORTEST)
        stuck |= failed & fresh
        inverse[failed], fresh[failed], share[failed] = np.eye(size), True, 1.0
        for lane in np.flatnonzero(taken):
            s, d = move[lane], gradient[lane] - new_gradient[lane]
            curvature = s @ d
            if curvature > 1e-10 * np.linalg.norm(s) * np.linalg.norm(d):
                if fresh[lane]:
                    inverse[lane] *= curvature / (d @ d)
                left = np.eye(size) - np.outer(s, d) / curvature
                inverse[lane] = left @ inverse[lane] @ left.T + np.outer(s, s) / curvature
            fresh[lane] = False
        point = point + move * taken[:, None]
        value = np.where(taken, new_value, value)
        gradient = np.where(taken[:, None], new_gradient, gradient)
    steepest = np.abs(gradient).max(1)
    return Ascended(point, value, steepest, evaluations, steepest <= tol)
