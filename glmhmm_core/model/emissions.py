"""Choices given the state: softmax regression on the inputs, with a selectable baseline class."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tensorflow_probability.substrates.jax.distributions as tfd
from dynamax.hidden_markov_model.models.abstractions import HMMEmissions
from dynamax.parameters import ParameterProperties

from glmhmm_core.engine.parameters import gaussian_log_density
from glmhmm_core.errors import InputError
from glmhmm_core.model.newton import maximize_emissions

#: Code of a trial without a choice.
NO_CHOICE = -1


class ParamsSoftmaxEmissions(NamedTuple):
    """Parameters of the choices, or their properties.

    Attributes
    ----------
    weights : float64 (K, C-1, M)
        Log-odds of each class over the baseline, per unit of each regressor; rows in class
        order with the baseline left out.
    """

    weights: Any


class ChoiceDistribution(tfd.Categorical):
    """Categorical over choices, for which the absence of a choice (-1) is no event.

    Its log-probability is 0: that trial says nothing about the state. It is never sampled.
    """

    def _log_prob(self, value: jax.Array) -> jax.Array:
        made = value >= 0
        return jnp.where(made, super()._log_prob(jnp.where(made, value, 0)), 0.0)


class SoftmaxEmissions(HMMEmissions):
    """P(y_t | z_t, x_t), a softmax of linear functions of the inputs, one per class.

    Parameters
    ----------
    num_states, num_classes, num_features
        K, C and M.
    baseline_class_idx
        Class whose logit is fixed at zero.
    prior_scale
        Standard deviation of the Gaussian prior on the weights, one number or one per
        regressor; infinity for none.
    frozen : float64 (K, C-1, M), optional
        Values that weights are held at, NaN where they are free. Default: all free.

    The inputs may have further columns behind those of the choice.

    Raises
    ------
    InputError
        If a number makes no model.
    """

    def __init__(
        self,
        num_states: int,
        num_classes: int,
        num_features: int,
        baseline_class_idx: int = 0,
        prior_scale: float | tuple[float, ...] | np.ndarray = 2.0,
        frozen: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        scale = np.asarray(prior_scale, dtype=np.float64)
        if num_states < 1 or num_classes < 2 or num_features < 1:
            raise InputError(
                f"{num_states} states, {num_classes} classes and {num_features} regressors",
                where="SoftmaxGLMHMM",
                remedy="Give at least 1 state, 2 classes and 1 regressor.",
            )
        if not 0 <= baseline_class_idx < num_classes:
            raise InputError(
                f"baseline_class_idx is {baseline_class_idx}",
                where="SoftmaxGLMHMM",
                remedy=f"Give a class between 0 and {num_classes - 1}.",
            )
        if scale.shape not in ((), (num_features,)) or not (scale > 0).all():
            raise InputError(
                f"the emission prior's scale is {prior_scale}",
                where="SoftmaxGLMHMM",
                remedy=f"Give one positive number or {num_features}, infinity for no prior.",
            )
        self.num_states = num_states
        self.num_classes = num_classes
        self.num_features = num_features
        self.baseline_class_idx = baseline_class_idx
        self.prior_scale = np.broadcast_to(scale, (num_features,))
        self.precision = jnp.asarray(1.0 / self.prior_scale**2)
        shape = (num_states, num_classes - 1, num_features)
        held = np.full(shape, np.nan) if frozen is None else frozen
        self.free = jnp.asarray(np.isnan(held).astype(np.float64))
        self._values = jnp.asarray(np.nan_to_num(held))

    @property
    def emission_shape(self) -> tuple[int, ...]:
        """Shape of one trial's choice: a scalar."""
        return ()

    def initialize(
        self,
        key: jax.Array | None = None,
        method: str = "prior",
        emission_weights: jax.Array | None = None,
    ) -> tuple[ParamsSoftmaxEmissions, ParamsSoftmaxEmissions]:
        """Parameters, drawn from the prior unless given, and their properties.

        Where there is no prior, weights are drawn from a standard normal.
        """
        if method != "prior":
            raise InputError(
                f"no such method: {method}", where="initialize", remedy="The one method is 'prior'."
            )
        if emission_weights is None:
            if key is None:
                raise InputError(
                    "no weights and no key", where="initialize", remedy="Give one of the two."
                )
            shape = (self.num_states, self.num_classes - 1, self.num_features)
            scale = jnp.asarray(np.where(np.isfinite(self.prior_scale), self.prior_scale, 1.0))
            emission_weights = jr.normal(key, shape) * scale[None, None]
        return ParamsSoftmaxEmissions(weights=self._held(emission_weights)), self.props()

    def props(self) -> ParamsSoftmaxEmissions:
        """Properties of the parameters: unconstrained and trained."""
        return ParamsSoftmaxEmissions(weights=ParameterProperties())

    def logits(self, weights: jax.Array, inputs: jax.Array) -> jax.Array:
        """Logits of every class, weights (..., C-1, M) and inputs (M or more,) -> (..., C)."""
        free = weights @ inputs[: self.num_features]
        zero = jnp.zeros((*free.shape[:-1], 1), dtype=free.dtype)
        before, after = jnp.split(free, [self.baseline_class_idx], axis=-1)
        return jnp.concatenate([before, zero, after], axis=-1)

    def distribution(
        self, params: ParamsSoftmaxEmissions, state: jax.Array, inputs: jax.Array
    ) -> ChoiceDistribution:
        """Law of the choice in one state, given the trial's inputs (M,)."""
        return ChoiceDistribution(logits=self.logits(self._held(params.weights)[state], inputs))

    def log_prior(self, params: ParamsSoftmaxEmissions) -> jax.Array:
        """Normalised log density of the prior, nats; 0 where the scale is infinite or frozen."""
        precision = self.precision[None, None] * self.free
        return gaussian_log_density(self._held(params.weights), precision)

    def initialize_m_step_state(
        self, params: ParamsSoftmaxEmissions, props: ParamsSoftmaxEmissions
    ) -> None:
        """Nothing: Newton's method starts from the weights alone."""

    def m_step(
        self,
        params: ParamsSoftmaxEmissions,
        props: ParamsSoftmaxEmissions,
        batch_stats: tuple[jax.Array, jax.Array, jax.Array],
        m_step_state: Any,
    ) -> tuple[ParamsSoftmaxEmissions, Any]:
        """Weights that maximise the expected log-likelihood plus log prior.

        ``batch_stats`` are posterior state probabilities (S, T, K), choices (S, T) and inputs
        (S, T, M); a trial without a choice has no part in it.
        """
        if props.weights.trainable:
            probs, choices, inputs = batch_stats
            choices = choices.reshape(-1)
            made = (choices >= 0).astype(probs.dtype)
            responsibility = probs.reshape(-1, self.num_states).T * made[None]
            others = [c for c in range(self.num_classes) if c != self.baseline_class_idx]
            one_hot = (choices[:, None] == jnp.array(others)[None]).astype(probs.dtype)
            weights = jax.vmap(maximize_emissions, in_axes=(0, 0, None, None, None, 0))(
                self._held(params.weights),
                responsibility,
                one_hot,
                inputs.reshape(-1, inputs.shape[-1])[:, : self.num_features],
                self.precision,
                self.free,
            )
            params = params._replace(weights=weights)
        return params, m_step_state

    def _held(self, weights: jax.Array) -> jax.Array:
        """Weights with the frozen ones at their values, so that no gradient moves these."""
        return jnp.where(self.free > 0, jnp.asarray(weights), self._values)
