"""The first state of a session: one law for all sessions, with a flat prior."""

from typing import Any

import jax
import jax.numpy as jnp
from dynamax.hidden_markov_model.models.initial import (
    ParamsStandardHMMInitialState,
    StandardHMMInitialState,
)
from dynamax.parameters import ParameterProperties

from glmhmm_core.model.simplex import FlooredSoftmax


class FlatInitialState(StandardHMMInitialState):
    """P(z_1) with a flat prior that contributes nothing to the objective; K = 1 allowed.

    Parameters
    ----------
    num_states
        K.
    """

    def __init__(self, num_states: int) -> None:
        super().__init__(num_states, initial_probs_concentration=1.0)

    def initialize(
        self,
        key: jax.Array | None = None,
        method: str = "prior",
        initial_probs: jax.Array | None = None,
    ) -> tuple[ParamsStandardHMMInitialState, ParamsStandardHMMInitialState]:
        """Parameters, drawn from the prior unless given, and their properties."""
        params, _ = super().initialize(key, method=method, initial_probs=initial_probs)
        return params, self.props()

    def props(self) -> ParamsStandardHMMInitialState:
        """Properties of the parameters; with one state there is nothing to train."""
        several = self.num_states > 1
        return ParamsStandardHMMInitialState(
            probs=ParameterProperties(
                trainable=several, constrainer=FlooredSoftmax() if several else None
            )
        )

    def log_prior(self, params: ParamsStandardHMMInitialState) -> jax.Array:
        """Log density of a flat prior, taken as 0."""
        return jnp.zeros((), dtype=params.probs.dtype)

    def m_step(
        self,
        params: ParamsStandardHMMInitialState,
        props: ParamsStandardHMMInitialState,
        batch_stats: jax.Array,
        m_step_state: Any,
    ) -> tuple[ParamsStandardHMMInitialState, Any]:
        """Share of the sessions expected to begin in each state; ``batch_stats`` is (S, K)."""
        if props.probs.trainable:
            counts = batch_stats.sum(axis=0)
            params = params._replace(probs=counts / counts.sum())
        return params, m_step_state
