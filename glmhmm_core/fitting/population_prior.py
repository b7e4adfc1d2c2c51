"""What a population's mean and spread say of a subject: the priors of a hierarchical fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glmhmm_core.engine.coordinates import unpack
from glmhmm_core.engine.odds import OddsPrior
from glmhmm_core.engine.parameters import Parameters, Prior


@dataclass(frozen=True)
class PopulationPrior:
    """Gaussian priors of one model on each subject's weights and log-odds.

    Attributes
    ----------
    weight_mean, weight_sd : float64 (K, C-1, M)
        Of the emission weights; infinite for a frozen one, whose mean is its value.
    chain_mean, chain_sd : float64 (K, K-1, 1+D)
        Of the log-odds of leaving each state for each other one over staying, and of their weights
        on the D transition regressors; of frozen weights as above.
    initial_mean, initial_sd : float64 (K,)
        Of the log-odds that a session begins in each state over ``reference``, whose own are 0
        and infinity.
    reference
        State that the initial log-odds are relative to.
    """

    weight_mean: np.ndarray
    weight_sd: np.ndarray
    chain_mean: np.ndarray
    chain_sd: np.ndarray
    initial_mean: np.ndarray
    initial_sd: np.ndarray
    reference: int

    @classmethod
    def of(
        cls,
        mean: np.ndarray,
        sd: np.ndarray,
        index: np.ndarray,
        reference: int,
        frozen: Parameters,
    ) -> "PopulationPrior":
        """From the free coordinates: mean and spread (P,) at these places of the engine's.

        ``frozen`` has the shapes, and the values of the weights that are not free.
        """
        k = len(frozen.initial_probs)
        weights = np.asarray(frozen.emission_weights, np.float64)
        driven = frozen.transition_weights
        driven = np.zeros((k, k - 1, 0)) if driven is None else np.asarray(driven, np.float64)
        chain = np.concatenate([np.zeros((k, k - 1, 1)), driven], axis=2)
        means = np.concatenate([np.zeros(k), chain.ravel(), weights.ravel()])
        means[index] = mean
        sds = np.full(len(means), np.inf)
        sds[index] = sd
        (initial_mean, chain_mean, weight_mean), (initial_sd, chain_sd, weight_sd) = (
            np.split(whole, [k, k + chain.size]) for whole in (means, sds)
        )
        return cls(
            weight_mean.reshape(weights.shape),
            weight_sd.reshape(weights.shape),
            chain_mean.reshape(chain.shape),
            chain_sd.reshape(chain.shape),
            initial_mean,
            initial_sd,
            reference,
        )

    @classmethod
    def read(cls, values: Mapping[str, Any] | None) -> "PopulationPrior | None":
        """From lists by the attributes' names, as JSON has them; None from None.

        Raises
        ------
        ValueError
            If their shapes are not those of one model: what broadcasts would be read as numbers
            that were never learned.
        """
        if values is None:
            return None
        arrays: dict[str, Any] = {
            name: np.array(value, np.float64) for name, value in values.items()
        }
        if len(arrays["initial_mean"]) == 1:  # lists do not keep the axes behind an empty one
            arrays |= {name: np.zeros((1, 0, 1)) for name in ("chain_mean", "chain_sd")}
        _check_shapes(arrays)
        return cls(**{**arrays, "reference": int(values["reference"])})

    def prior(self) -> Prior:
        """As the engine wants it."""
        k = len(self.initial_mean)
        odds = OddsPrior(
            self.initial_mean,
            1 / self.initial_sd**2,
            self.reference,
            self.chain_mean,
            1 / self.chain_sd**2,
        )
        return Prior(
            emission_precision=1 / self.weight_sd**2,
            transition_counts=np.zeros((k, k)),
            transition_normalizer=0.0,
            emission_mean=self.weight_mean,
            odds=odds if k > 1 else None,
        )

    def center(self) -> Parameters:
        """The subject that is the population's mean in every coordinate."""
        k = len(self.initial_mean)
        driven = self.chain_mean[:, :, 1:]
        shaped = Parameters(
            np.ones(k), np.ones((k, k)), self.weight_mean, driven if driven.shape[2] else None
        )
        return jax.tree.map(np.asarray, unpack(jnp.asarray(self.flat()[0]), shaped))

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread in the engine's coordinates, (P,) both."""
        means = [self.initial_mean, self.chain_mean.ravel(), self.weight_mean.ravel()]
        sds = [self.initial_sd, self.chain_sd.ravel(), self.weight_sd.ravel()]
        return np.concatenate(means), np.concatenate(sds)


def _check_shapes(arrays: Mapping[str, np.ndarray]) -> None:
    k = len(arrays["initial_mean"])
    expected = {"initial": (k,), "chain": (k, k - 1, None), "weight": (k, None, None)}
    for part, lengths in expected.items():
        mean, sd = (arrays[f"{part}_{what}"].shape for what in ("mean", "sd"))
        fits = len(mean) == len(lengths) and all(
            wanted in (None, found) for wanted, found in zip(lengths, mean, strict=True)
        )
        if not fits or sd != mean:
            raise ValueError(
                f"its population's {part}_mean and {part}_sd have shapes {mean} and {sd}, "
                f"which are not those of {k} states"
            )
