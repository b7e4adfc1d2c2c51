"""The model that is fitted: regressors by name, scales of their priors, frozen weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from glmhmm_core.engine.parameters import Free, Parameters, Prior, make_prior
from glmhmm_core.engine.transitions import others
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.settings import FitSettings, FrozenWeight

#: Weights held fixed: state -> regressor -> value.
Frozen = Mapping[int, Mapping[str, float]]

#: Probabilities of a warm start are raised to this: from zero none could ever rise again.
LEAST = 1e-8


@dataclass(frozen=True)
class Specification:
    """What a model is made of, whatever its number of states.

    Attributes
    ----------
    num_classes
        C.
    emission_names, transition_names
        Names of the M regressors of the choice and the D of the transitions; no transition
        regressors means a constant chain.
    emission_scale, transition_scale : float64 (M,), (D,)
        Standard deviations of the Gaussian priors on their weights.
    frozen_emissions
        State -> regressor -> value that the weight of every class but the baseline is held at.
    frozen_transitions
        State -> transition regressor -> value that its weight on leaving for every other state
        is held at.
    population
        Priors that a hierarchical fit has learned for one number of states, in place of the
        ordinary ones; None for those.
    """

    num_classes: int
    emission_names: tuple[str, ...]
    emission_scale: np.ndarray
    transition_names: tuple[str, ...] = ()
    transition_scale: np.ndarray = field(default_factory=lambda: np.empty(0))
    frozen_emissions: Frozen = field(default_factory=dict)
    frozen_transitions: Frozen = field(default_factory=dict)
    population: PopulationPrior | None = None

    def prior(self, num_states: int, settings: FitSettings) -> Prior:
        """The priors of a model with so many states."""
        if self.population is not None:
            return self.population.prior()
        return make_prior(
            num_states,
            self.emission_scale,
            settings.transition_concentration,
            settings.stickiness,
            self.transition_scale if self.transition_names else None,
        )

    def free(self, num_states: int) -> Free:
        """Which weights are fitted."""
        emission, transition = self.fixed(num_states)
        return Free(
            np.isnan(emission).astype(np.float64),
            np.isnan(transition).astype(np.float64) if self.transition_names else None,
        )

    def start(self, params: Parameters) -> Parameters:
        """A starting point that obeys the frozen weights and can move everywhere else."""
        k = len(params.initial_probs)
        emission, transition = self.fixed(k)
        driven = params.transition_weights
        if driven is None:
            driven = np.zeros(transition.shape)
        return Parameters(
            _inner(np.asarray(params.initial_probs)),
            _inner(np.asarray(params.transition_matrix)),
            np.where(np.isnan(emission), params.emission_weights, emission),
            np.where(np.isnan(transition), driven, transition) if self.transition_names else None,
        )

    def having(self, num_states: int) -> "Specification":
        """The same model with the frozen weights of the states that there are, none of a GLM."""

        def of(frozen: Frozen) -> Frozen:
            return {k: w for k, w in frozen.items() if k < num_states and num_states > 1}

        return replace(
            self,
            frozen_emissions=of(self.frozen_emissions),
            frozen_transitions=of(self.frozen_transitions),
        )

    def without_frozen(self) -> "Specification":
        """The same model with every weight free and a constant chain: the GLM that starts use."""
        return Specification(self.num_classes, self.emission_names, self.emission_scale)

    def num_parameters(self, num_states: int) -> int:
        """Free parameters: initial law, transitions, and weights that are not frozen."""
        free = self.free(num_states)
        driven = 0 if free.transition is None else int(np.sum(free.transition))
        k = num_states
        return (k - 1) + k * (k - 1) + driven + int(np.sum(free.emission))

    def check(self, num_states: int, where: str) -> None:
        """Refuse frozen weights of states or regressors that there are not.

        Raises
        ------
        InputError
        """
        for what, frozen, names in (
            ("frozen_emissions", self.frozen_emissions, self.emission_names),
            ("frozen_transitions", self.frozen_transitions, self.transition_names),
        ):
            for state, weights in frozen.items():
                if not 0 <= state < num_states:
                    raise InputError(
                        f"{what} names state {state} of {num_states}",
                        where=where,
                        remedy="Count states from 0.",
                    )
                for name, value in weights.items():
                    if name not in names or not np.isfinite(value):
                        raise InputError(
                            f"{what} holds {name!r} at {value}",
                            where=where,
                            remedy=f"Give a finite value for one of {list(names)}.",
                        )

    def fixed(self, num_states: int) -> tuple[np.ndarray, np.ndarray]:
        """Frozen values, NaN where free: (K, C-1, M) and (K, K-1, D)."""
        emission = np.full((num_states, self.num_classes - 1, len(self.emission_names)), np.nan)
        shape = (*others(num_states).shape, len(self.transition_names))
        transition = np.full(shape, np.nan)
        for fixed, frozen, names in (
            (emission, self.frozen_emissions, self.emission_names),
            (transition, self.frozen_transitions, self.transition_names),
        ):
            for state, weights in frozen.items():
                for name, value in weights.items():
                    fixed[state, :, names.index(name)] = value
        return emission, transition


def by_state(frozen: Sequence[FrozenWeight], of_transition: bool) -> Frozen:
    """Those frozen weights that are of transitions, or those that are not, by state."""
    weights: dict[int, dict[str, float]] = {}
    for one in frozen:
        if one.of_transition == of_transition:
            weights.setdefault(one.state, {})[one.regressor] = one.value
    return weights


def _inner(probs: np.ndarray) -> np.ndarray:
    raised = np.maximum(probs, LEAST)
    return raised / raised.sum(-1, keepdims=True)
