"""Transitions between states that depend on inputs: softmax regressions of leaving over staying."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tensorflow_probability.substrates.jax.distributions as tfd
from dynamax.hidden_markov_model.inference import HMMPosterior
from dynamax.hidden_markov_model.models.abstractions import HMMTransitions
from dynamax.parameters import ParameterProperties

from glmhmm_core.engine.parameters import (
    Parameters,
    dirichlet_log_density,
    gaussian_log_density,
)
from glmhmm_core.engine.transitions import (
    driven_step,
    driven_sums,
    log_odds,
    matrix_of,
    transition_matrices,
)
from glmhmm_core.errors import InputError
from glmhmm_core.model.newton import LAST_STEP, MAX_HALVINGS, MAX_STEPS
from glmhmm_core.model.transitions import StickyTransitions


class ParamsDrivenTransitions(NamedTuple):
    """Parameters of driven transitions, or their properties.

    Attributes
    ----------
    transition_matrix : float64 (K, K)
        Row i is P(z_t | z_{t-1} = i) where all transition inputs are 0.
    weights : float64 (K, K-1, D)
        Log-odds of leaving state i for each other state, in state order, over staying, per unit
        of each transition input of the destination trial.
    """

    transition_matrix: Any
    weights: Any


class DrivenTransitions(HMMTransitions):
    """P(z_t | z_{t-1}, u_t), where u_t are the last D inputs of the trial that is gone to.

    Parameters
    ----------
    num_states, num_inputs
        K, at least 2, and D.
    concentration, stickiness
        Of the Dirichlet prior on the matrix at u = 0, as for
        :class:`~glmhmm_core.model.transitions.StickyTransitions`.
    prior_scale
        Standard deviation of the Gaussian prior on the weights, one number or one per input;
        infinity for none.
    frozen : float64 (K, K-1, D), optional
        Values that weights are held at, NaN where they are free. Default: all free.

    Raises
    ------
    InputError
        If a number makes no model.
    """

    def __init__(
        self,
        num_states: int,
        num_inputs: int,
        concentration: float = 2.0,
        stickiness: float = 0.0,
        prior_scale: float | tuple[float, ...] | np.ndarray = 2.0,
        frozen: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        scale = np.asarray(prior_scale, dtype=np.float64)
        if num_states < 2 or scale.shape not in ((), (num_inputs,)) or not (scale > 0).all():
            raise InputError(
                f"{num_states} states with transition priors of scale {prior_scale}",
                where="SoftmaxGLMHMM",
                remedy=f"Give at least 2 states, and one positive number or {num_inputs}.",
            )
        self.num_states, self.num_inputs = num_states, num_inputs
        self._matrix = StickyTransitions(num_states, concentration, stickiness)
        self.prior_scale = np.broadcast_to(scale, (num_inputs,))
        self.precision = jnp.asarray(1.0 / self.prior_scale**2)
        shape = (num_states, num_states - 1, num_inputs)
        held = np.full(shape, np.nan) if frozen is None else frozen
        self.free = jnp.asarray(np.isnan(held).astype(np.float64))
        self._values = jnp.asarray(np.nan_to_num(held))

    def initialize(
        self,
        key: jax.Array | None = None,
        method: str = "prior",
        transition_matrix: jax.Array | None = None,
        transition_weights: jax.Array | None = None,
    ) -> tuple[ParamsDrivenTransitions, ParamsDrivenTransitions]:
        """Parameters, drawn from the prior unless given, and their properties.

        Where there is no prior, weights are drawn from a standard normal.
        """
        keys = (None, None) if key is None else jr.split(key)
        matrix = self._matrix.initialize(keys[0], method, transition_matrix)[0].transition_matrix
        if transition_weights is None:
            if keys[1] is None:
                raise InputError(
                    "no transition weights and no key",
                    where="initialize",
                    remedy="Give one of the two.",
                )
            scale = jnp.asarray(np.where(np.isfinite(self.prior_scale), self.prior_scale, 1.0))
            transition_weights = jr.normal(keys[1], self.free.shape) * scale[None, None]
        held = self._held(transition_weights)
        return ParamsDrivenTransitions(matrix, held), self.props()

    def props(self) -> ParamsDrivenTransitions:
        """Properties of the parameters: probabilities on the simplex, weights unconstrained."""
        return ParamsDrivenTransitions(
            self._matrix.props().transition_matrix, ParameterProperties()
        )

    def distribution(
        self, params: ParamsDrivenTransitions, state: jax.Array, inputs: jax.Array
    ) -> tfd.Categorical:
        """Law of the next state, given the inputs of the trial that is gone to."""
        u = inputs[-self.num_inputs :]
        odds = log_odds(params.transition_matrix) + self._held(params.weights) @ u
        return tfd.Categorical(probs=matrix_of(odds)[state])

    def _compute_transition_matrices(
        self, params: ParamsDrivenTransitions, inputs: jax.Array
    ) -> jax.Array:
        """Transitions into every trial but the first, (T-1, K, K).

        With a single trial there is none, and Dynamax, which cannot go through none, gets (K, K).
        """
        if len(inputs) == 1:
            return params.transition_matrix
        led = jnp.asarray(inputs)[1:, -self.num_inputs :]
        return self._matrices(params, led.T[:, :, None])[..., 0].transpose(2, 0, 1)

    def log_prior(self, params: ParamsDrivenTransitions) -> jax.Array:
        """Normalised log density of the priors, nats; 0 of what has none or is frozen."""
        on_matrix = dirichlet_log_density(
            params.transition_matrix, self._matrix.prior_counts, self._matrix.prior_log_normalizer
        )
        precision = self.precision[None, None] * self.free
        return on_matrix + gaussian_log_density(self._held(params.weights), precision)

    def collect_suff_stats(
        self, params: ParamsDrivenTransitions, posterior: HMMPosterior, inputs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Expected transitions into every trial but the first, and their inputs."""
        del params  # the posterior has them
        k, led = self.num_states, inputs[1:, -self.num_inputs :]
        return posterior.trans_probs.reshape(-1, k, k)[: len(led)], led

    def initialize_m_step_state(
        self, params: ParamsDrivenTransitions, props: ParamsDrivenTransitions
    ) -> None:
        """Nothing: Newton's method starts from the parameters alone."""

    def m_step(
        self,
        params: ParamsDrivenTransitions,
        props: ParamsDrivenTransitions,
        batch_stats: tuple[jax.Array, jax.Array],
        m_step_state: Any,
    ) -> tuple[ParamsDrivenTransitions, Any]:
        """Parameters that maximise the expected log-likelihood plus log prior.

        By the engine's Newton steps, halved until they gain. ``batch_stats`` are expected
        transitions (S, T-1, K, K) and inputs (S, T-1, D).
        """
        if not props.weights.trainable:
            return params, m_step_state
        xi, inputs = batch_stats[0].transpose(2, 3, 1, 0), batch_stats[1].transpose(2, 1, 0)
        k, prior_counts = self.num_states, self._matrix.prior_counts

        def objective(p: ParamsDrivenTransitions) -> jax.Array:
            logs = jnp.log(jnp.maximum(self._matrices(p, inputs), jnp.finfo(jnp.float64).tiny))
            return (xi * logs).sum() + self.log_prior(p)

        def moved(p: ParamsDrivenTransitions, step: jax.Array) -> ParamsDrivenTransitions:
            odds = log_odds(p.transition_matrix) + step[..., 0]
            return ParamsDrivenTransitions(matrix_of(odds), p.weights + step[..., 1:])

        def proceed(s: tuple) -> jax.Array:
            return ~s[1] & (s[2] < MAX_STEPS)

        def iterate(s: tuple) -> tuple:
            p, _, steps = s
            sums = driven_sums(xi, self._matrices(p, inputs), inputs)
            own = Parameters(jnp.ones(k) / k, p.transition_matrix, jnp.zeros((k, 1, 1)), p.weights)
            found = driven_step(own, self.free, self.precision, prior_counts, sums)
            step = found.em_step.reshape(k, k - 1, -1)
            decrement = (found.gradient * found.em_step).sum()
            last, before = decrement < LAST_STEP, objective(p)

            def poor(shrink: jax.Array) -> jax.Array:
                gain = objective(moved(p, shrink * step)) - before
                return ~(gain >= 1e-4 * shrink * decrement) & (shrink > 2.0**-MAX_HALVINGS)

            shrink = jax.lax.while_loop(poor, lambda t: t / 2, jnp.ones_like(before))
            new = moved(p, shrink * step)
            better = objective(new) >= before
            kept = jax.tree.map(lambda there, here: jnp.where(better, there, here), new, p)
            return kept, last | ~better, steps + 1

        positive = jnp.maximum(params.transition_matrix, 1e-300)
        start = ParamsDrivenTransitions(positive, self._held(params.weights))
        fitted = jax.lax.while_loop(proceed, iterate, (start, jnp.asarray(False), jnp.asarray(0)))[
            0
        ]
        return fitted, m_step_state

    def _matrices(self, params: ParamsDrivenTransitions, inputs: jax.Array) -> jax.Array:
        """Transitions (K, K, T, S) at transition inputs (D, T, S)."""
        k = self.num_states
        emissions = jnp.zeros((k, 1, 1))  # of no account here
        weights = self._held(params.weights)
        own = Parameters(jnp.ones(k) / k, params.transition_matrix, emissions, weights)
        return transition_matrices(own, inputs)

    def _held(self, weights: jax.Array) -> jax.Array:
        """Weights with the frozen ones at their values, so that no gradient moves these."""
        return jnp.where(self.free > 0, jnp.asarray(weights), self._values)
