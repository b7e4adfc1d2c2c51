"""Maximise the MAP objective of one GLM-HMM: EM, then quasi-Newton steps that EM preconditions.

EM is safe far from an optimum and linear near it. Every iteration here costs one E-step, whose
statistics give both the EM step and the exact gradient. While EM still gains a lot its steps are
taken: expected counts in closed form for the chain, one damped Newton step for the emissions
(gradient EM, Lange 1995). Then BFGS takes over in the coordinates (log initial, log transition,
weights), its first metric the inverse complete-data information, so that its first step is the
EM step (Jamshidian and Jennrich 1997). A step that lowers the objective is never accepted: the
quasi-Newton metric is dropped, and the EM step is shortened until it gains.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.coordinates import directions, pack, unpack
from glmhmm_core.engine.expectation import Data, expect
from glmhmm_core.engine.parameters import Array, Free, Parameters, Prior

#: Relative gain of an EM iteration below which BFGS takes over.
TAKE_OVER = 1e-4
#: Largest change of a coordinate in one quasi-Newton step: keeps the step inside its basin.
LONGEST_STEP = 2.0
#: Length of EM's step at a finished fit, in complete-data standard deviations.
GRADIENT_TOLERANCE = 1e-6
#: Relative rounding error of a sum of log-likelihoods.
ROUNDING = 1e-13


class Begun(NamedTuple):
    """What a climb that was interrupted has gained so far.

    Attributes
    ----------
    inverse : float64 (P, P)
        BFGS approximation of the inverse Hessian; zeros while EM's steps were being taken.
    iterations : int ()
        E-steps after the first.
    """

    inverse: Array
    iterations: Array


def anew(start: Parameters) -> Begun:
    """Nothing gained yet."""
    size = jax.eval_shape(pack, start).size
    return Begun(np.zeros((size, size)), np.asarray(0))


class Fit(NamedTuple):
    """Where one start ended.

    Attributes
    ----------
    params
        Parameters at the end.
    trace : float64 (max_iters + 1,)
        Objective at the accepted iterate after each E-step, never falling; NaN behind the end
        and before what the climb had begun with.
    begun
        What it takes to go on from here.
    converged : bool ()
        Whether gain and gradient met the tolerances.
    """

    params: Parameters
    trace: jax.Array
    begun: Begun
    converged: jax.Array

    @property
    def iterations(self) -> Array:
        """E-steps after the first, int ()."""
        return self.begun.iterations


class _Point(NamedTuple):
    """An accepted iterate: coordinates, objective, gradient, EM's step, and its metric."""

    theta: jax.Array  # (P,)
    objective: jax.Array
    gradient: jax.Array  # (P,)
    em_step: jax.Array  # (P,)
    metric: jax.Array  # (P, P), inverse complete-data information


class _State(NamedTuple):
    point: _Point
    inverse: jax.Array  # (P, P), BFGS approximation of the inverse Hessian
    step: jax.Array  # (P,), to be tried next
    quasi: jax.Array  # bool, whether ``step`` is a quasi-Newton step
    damping: jax.Array  # of the EM step
    iteration: jax.Array
    converged: jax.Array
    stuck: jax.Array
    trace: jax.Array


def _bfgs(inverse: jax.Array, moved: jax.Array, fallen: jax.Array) -> jax.Array:
    """BFGS update of the inverse Hessian; left alone where curvature is not positive."""
    curvature = moved @ fallen
    safe = curvature > 1e-10 * jnp.linalg.norm(moved) * jnp.linalg.norm(fallen)
    rho = 1.0 / jnp.where(safe, curvature, 1.0)
    left = jnp.eye(moved.size) - rho * jnp.outer(moved, fallen)
    return jnp.where(safe, left @ inverse @ left.T + rho * jnp.outer(moved, moved), inverse)


def maximize(
    start: Parameters,
    data: Data,
    prior: Prior,
    free: Free,
    tol: float,
    gradient_tol: float = GRADIENT_TOLERANCE,
    begun: Begun | None = None,
    *,
    max_iters: int,
) -> Fit:
    """Climb from ``start`` to a local maximum of the MAP objective.

    Parameters
    ----------
    start
        Parameters with strictly positive probabilities.
    data, prior, free
        The subject's lanes, the priors, and which weights are fitted.
    tol, gradient_tol
        The climb ends when an accepted step gains less than ``tol`` of the objective and EM's
        next step is shorter than ``gradient_tol`` complete-data standard deviations.
    begun
        With the parameters of an earlier climb, goes on where it ended; one E-step is repeated.
    max_iters
        E-steps after which it is given up, those of the earlier climb among them.
    """
    begun = anew(start) if begun is None else begun
    return _maximize(start, data, prior, free, tol, gradient_tol, begun, max_iters=max_iters)


@partial(jax.jit, static_argnames="max_iters")
def _maximize(
    start: Parameters,
    data: Data,
    prior: Prior,
    free: Free,
    tol: float,
    gradient_tol: float,
    begun: Begun,
    *,
    max_iters: int,
) -> Fit:
    def evaluate(theta: jax.Array) -> _Point:
        params = unpack(theta, start)
        e = expect(params, data, prior, free)
        return _Point(theta, e.objective, *directions(params, e))

    def proceed(s: _State) -> jax.Array:
        return ~s.converged & ~s.stuck & (s.iteration < max_iters)

    def iterate(s: _State) -> _State:
        new = evaluate(s.point.theta + s.step)
        rounding = ROUNDING * jnp.abs(s.point.objective)
        accepted = new.objective >= s.point.objective - rounding  # False for NaN too
        point = jax.tree.map(lambda n, o: jnp.where(accepted, n, o), new, s.point)
        gain = jnp.where(accepted, new.objective - s.point.objective, jnp.inf)
        # Relative to one nat at least: choices without doubt have a log-likelihood of 0.
        relative = gain / jnp.maximum(jnp.abs(point.objective), 1.0)

        close = accepted & (s.quasi | (relative < TAKE_OVER))
        updated = _bfgs(s.inverse, s.step, s.point.gradient - new.gradient)
        inverse = jnp.where(accepted & s.quasi, updated, point.metric)
        newton = inverse @ point.gradient
        longest = LONGEST_STEP * jnp.maximum(1.0, jnp.sqrt(jnp.diagonal(point.metric)))
        newton = newton / jnp.maximum(1.0, (jnp.abs(newton) / longest).max())
        quasi = close & (newton @ point.gradient > 0)

        # The EM step is halved only after it failed itself, not after a quasi-Newton step did.
        damping = jnp.where(accepted | s.quasi, 1.0, s.damping / 2)
        short = point.gradient @ point.metric @ point.gradient < gradient_tol**2
        iteration = s.iteration + 1
        return _State(
            point=point,
            inverse=inverse,
            step=jnp.where(quasi, newton, damping * point.em_step),
            quasi=quasi,
            damping=damping,
            iteration=iteration,
            converged=short & (relative < tol),
            stuck=damping < 1e-6,
            trace=s.trace.at[iteration].set(point.objective),
        )

    # The first iteration evaluates the start itself: a step of zero from a point below all others.
    # A quasi-Newton step of zero leaves the inverse Hessian of an earlier climb as it is.
    theta = pack(start)
    zeros, square = jnp.zeros_like(theta), jnp.zeros((theta.size, theta.size))
    state = _State(
        point=_Point(theta, jnp.asarray(-jnp.inf), zeros, zeros, square),
        inverse=jnp.asarray(begun.inverse),
        step=zeros,
        quasi=(jnp.asarray(begun.inverse) != 0).any(),
        damping=jnp.asarray(1.0),
        iteration=jnp.asarray(begun.iterations) - 1,
        converged=jnp.asarray(False),
        stuck=jnp.asarray(False),
        trace=jnp.full(max_iters + 1, jnp.nan),
    )
    end = jax.lax.while_loop(proceed, iterate, state)
    inverse = jnp.where(end.quasi, end.inverse, 0.0)
    begun = Begun(inverse, end.iteration)
    return Fit(unpack(end.point.theta, start), end.trace, begun, end.converged)


@partial(jax.jit, static_argnames="max_iters")
def maximize_together(
    starts: Parameters,
    data: Data,
    prior: Prior,
    free: Free,
    tol: float,
    gradient_tol: float,
    begun: Begun,
    *,
    max_iters: int,
) -> Fit:
    """Climb from many starts in step, for accelerators: :func:`maximize` over a leading axis.

    ``starts`` and ``begun`` have a leading axis R, and so has the result. All climbs take as many
    iterations as the longest; on a processor with few cores one climb at a time is faster.
    """

    def one(start: Parameters, begun: Begun) -> Fit:
        return maximize(start, data, prior, free, tol, gradient_tol, begun, max_iters=max_iters)

    return jax.vmap(one)(starts, begun)


def bytes_per_climb(data: Data, num_states: int) -> int:
    """Working memory of one climb, in bytes: its arrays over time and the lanes of a block.

    Counted from :func:`~glmhmm_core.engine.expectation.expect`: messages and likelihoods take
    eight arrays (T, K, S), choice probabilities and their residuals three (T, K, C, S).
    """
    _, steps, num_classes, lanes = data.lanes.y.shape
    return 8 * steps * lanes * num_states * (8 + 3 * num_classes)
