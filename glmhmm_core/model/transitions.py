"""Transitions between states: one matrix, a Dirichlet prior on each of its rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dynamax.hidden_markov_model.models.transitions import (
    ParamsStandardHMMTransitions,
    StandardHMMTransitions,
)
from dynamax.parameters import ParameterProperties

from glmhmm_core.engine.parameters import dirichlet_log_density, dirichlet_log_normalizer
from glmhmm_core.errors import InputError
from glmhmm_core.model.simplex import FlooredSoftmax


class StickyTransitions(StandardHMMTransitions):
    """P(z_t | z_{t-1}), the same on every trial; K = 1 allowed.

    Parameters
    ----------
    num_states
        K.
    concentration
        Dirichlet concentration of every entry, at least 1.
    stickiness
        What the diagonal's concentration has on top, at least 0. Concentration 1 with
        stickiness 0 is no prior: it contributes nothing to the objective.

    Raises
    ------
    InputError
        If the prior has no mode: a concentration below 1 or a negative stickiness.
    """

    def __init__(
        self, num_states: int, concentration: float = 2.0, stickiness: float = 0.0
    ) -> None:
        if not (concentration >= 1 and stickiness >= 0):
            raise InputError(
                f"concentration {concentration} with stickiness {stickiness} has no mode",
                where="transition prior",
                remedy="Give a concentration of at least 1 and a stickiness of at least 0.",
            )
        super().__init__(num_states, concentration=concentration, stickiness=stickiness)
        #: What the mode adds to the expected counts, (K, K).
        self.prior_counts = self.concentration - 1.0
        self.prior_log_normalizer = dirichlet_log_normalizer(np.asarray(self.prior_counts))

    def initialize(
        self,
        key: jax.Array | None = None,
        method: str = "prior",
        transition_matrix: jax.Array | None = None,
    ) -> tuple[ParamsStandardHMMTransitions, ParamsStandardHMMTransitions]:
        """Parameters, drawn from the prior unless given, and their properties."""
        params, _ = super().initialize(key, method=method, transition_matrix=transition_matrix)
        return params, self.props()

    def props(self) -> ParamsStandardHMMTransitions:
        """Properties of the parameters; with one state there is nothing to train."""
        several = self.num_states > 1
        return ParamsStandardHMMTransitions(
            transition_matrix=ParameterProperties(
                trainable=several, constrainer=FlooredSoftmax() if several else None
            )
        )

    def log_prior(self, params: ParamsStandardHMMTransitions) -> jax.Array:
        """Normalised log density of the prior, nats."""
        return dirichlet_log_density(
            params.transition_matrix, self.prior_counts, self.prior_log_normalizer
        )

    def m_step(
        self,
        params: ParamsStandardHMMTransitions,
        props: ParamsStandardHMMTransitions,
        batch_stats: jax.Array,
        m_step_state: Any,
    ) -> tuple[ParamsStandardHMMTransitions, Any]:
        """Mode of each row given the expected transitions, ``batch_stats`` of shape (S, K, K)."""
        if props.transition_matrix.trainable:
            counts = batch_stats.sum(axis=0) + self.prior_counts
            leaving = counts.sum(axis=1, keepdims=True)
            # A row without counts or prior has no mode of its own: it stays as it is.
            known = leaving > 0
            rows = jnp.where(known, counts, params.transition_matrix)
            params = params._replace(transition_matrix=rows / jnp.where(known, leaving, 1.0))
        return params, m_step_state
