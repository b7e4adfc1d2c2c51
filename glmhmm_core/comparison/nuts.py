"""Within-mode posterior of one fitted model by NUTS (blackjax), states summed out.

A GLM-HMM's posterior has a mode for every numbering of its states, and often others. Chains are
started around the fit's own and stay there: what comes back says how wide that mode is and of
which form, and nothing of the others. The number of effective draws and R-hat can only tell
whether the chains agree on this mode.
"""

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from glmhmm_core.engine.coordinates import pack, unpack
from glmhmm_core.engine.density import log_density
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import FreeParameters, free_parameters, interchangeable
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.states.matching import reorder

if TYPE_CHECKING:
    from collections.abc import Callable

#: Chains begin so many standard errors around the mode: wider than it, so that R-hat can tell.
JITTER = 1.5
#: R-hat beyond this: the chains do not agree (Vehtari et al. 2021, Bayesian Anal 16:667).
AGREED = 1.01
#: Effective draws below which the ends of an interval are noise (same source).
ENOUGH = 400

WITHIN_MODE_SCHEMA: dict[str, pl.DataType] = {
    "r_hat": pl.Float64(),
    "effective_draws": pl.Float64(),
}


@dataclass(frozen=True)
class WithinMode:
    """Draws of a fit's free parameters from the mode that it lies in.

    Attributes
    ----------
    table : P rows, as ``UNCERTAINTY_SCHEMA`` and ``WITHIN_MODE_SCHEMA``
        The fit's estimate beside standard deviation and 2.5 and 97.5 % of the draws.
    draws : float64 (chains, draws, P)
        In the order of ``table``; states numbered as in the fit.
    divergences
        Draws at which the integrator failed; the posterior there is not explored.
    relabelled
        Draws whose states had to be renumbered.
    remarks
        What is wrong, one sentence each.
    """

    table: pl.DataFrame
    draws: np.ndarray
    divergences: int
    relabelled: int
    remarks: tuple[str, ...]


def sample_within_mode(
    fit: FitResult, *, draws: int = 1000, warmup: int = 500, chains: int = 4, seed: int = 0
) -> WithinMode:
    """Sample the posterior around a fit.

    The density is that of the fit's priors over log-odds and weights. Its mode over log-odds is
    not the fit's over probabilities: the Dirichlet's is one count a transition higher, which
    shows where transitions are few.

    Parameters
    ----------
    fit
        A converged fit.
    draws, warmup
        Draws of each chain that are kept, and those before in which step size and scales adapt.
    chains
        Copies of the fit, jittered by ``JITTER`` standard errors, that begin a chain each.
    seed
        Root of the random numbers.

    Raises
    ------
    InputError
        If blackjax is not installed, or there is too little to judge the draws by.
    """
    if importlib.util.find_spec("blackjax") is None:
        raise InputError(
            "it needs the package blackjax, which is not installed",
            where="NUTS",
            remedy="Install it with: pip install 'glmhmm[nuts]'",
        )
    if chains < 2 or draws < 4 or warmup < 1:
        raise InputError(
            f"{chains} chains of {draws} draws after {warmup}",
            where="NUTS",
            remedy="Give two chains of four draws after one at least.",
        )
    named = free_parameters(fit)
    mode, scale = named.values(fit.fitted_params), _scale(fit)
    density = _density(fit, named, mode, scale)
    starts = JITTER * np.random.default_rng((seed, 0)).normal(size=(chains, len(mode)))
    whitened, diverged = _run(density, starts, draws, warmup, seed)
    values = mode + whitened @ scale.T
    values, relabelled = _relabel(fit, named, values)
    return _told(named, mode, values, int(diverged.sum()), relabelled)


def _scale(fit: FitResult) -> np.ndarray:
    """Root (P, P) of the posterior's covariance as the curvature has it; 1 where it has none.

    In these units the posterior is about a standard normal, so that few steps cross it.
    """
    covariance = standard_errors(fit).covariance
    known = np.isfinite(np.diag(covariance))
    root = np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance[np.ix_(known, known)])
    root[np.ix_(known, known)] = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _density(
    fit: FitResult, named: FreeParameters, mode: np.ndarray, scale: np.ndarray
) -> "Callable[[jax.Array], jax.Array]":
    """Log density (P,) -> () in units of the scale around the mode."""
    like = _inner(fit.fitted_params)
    base = np.array(pack(like))
    base[: fit.num_states] -= base[named.reference]
    data, model = problem_of(fit).data(), fit.specification
    given = (like, data, model.prior(fit.num_states, fit.settings), model.free(fit.num_states))

    def density(z: jax.Array) -> jax.Array:
        theta = jax.numpy.asarray(base).at[named.index].set(mode + scale @ z)
        return log_density(theta, *given)

    return density


def _run(
    density: "Callable[[jax.Array], jax.Array]",
    starts: np.ndarray,
    draws: int,
    warmup: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (chains, draws, P) and which of them diverged (chains, draws)."""
    import blackjax

    adaptation = blackjax.window_adaptation(blackjax.nuts, density)

    def chain(key: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        before, after = jax.random.split(key)
        adapted, _ = adaptation.run(before, start, num_steps=warmup)
        kernel = blackjax.nuts(density, **adapted.parameters)

        def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            state, info = kernel.step(key, state)
            return state, (state.position, info.is_divergent)

        return jax.lax.scan(step, adapted.state, jax.random.split(after, draws))[1]

    keys = jax.random.split(jax.random.key(seed), len(starts))
    # Blackjax mixes types and ranks as NumPy does.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        values, diverged = jax.jit(jax.vmap(chain))(keys, starts)
    return np.asarray(values), np.asarray(diverged)


def _relabel(fit: FitResult, named: FreeParameters, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Draws with every state numbered as the one of the fit whose weights are nearest."""
    base = np.array(pack(_inner(fit.fitted_params)))
    base[: fit.num_states] -= base[named.reference]
    size = np.sqrt((fit.X[fit.mask] ** 2).mean(0))
    weights = np.asarray(fit.fitted_params.emission_weights)
    flat = values.reshape(-1, values.shape[-1])
    theta = np.tile(base, (len(flat), 1))
    theta[:, named.index] = flat
    drawn = theta[:, -weights.size :].reshape(-1, *weights.shape)
    apart = np.abs((drawn[:, :, None] - weights[None, None]) * size).sum((3, 4))
    apart = np.where(interchangeable(fit), apart, np.inf)
    plain = np.arange(fit.num_states)
    told, relabelled = flat.copy(), 0
    for i, cost in enumerate(apart):
        # Where weights say little, the draw's own numbers are kept.
        matched = linear_sum_assignment(np.minimum(cost, 1e9))[1]
        if np.array_equal(matched, plain):
            continue
        relabelled += 1
        params = jax.tree.map(np.asarray, unpack(theta[i], fit.fitted_params))
        told[i] = named.values(reorder(params, np.argsort(matched).tolist()))
    return told.reshape(values.shape), relabelled


def _told(
    named: FreeParameters, mode: np.ndarray, values: np.ndarray, divergences: int, relabelled: int
) -> WithinMode:
    from blackjax.diagnostics import effective_sample_size, rhat

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        r_hat, effective = (np.asarray(f(values)) for f in (rhat, effective_sample_size))
    flat = values.reshape(-1, values.shape[-1])
    lower, upper = np.quantile(flat, (0.025, 0.975), axis=0)
    table = named.keys.with_columns(
        estimate=pl.Series(mode),
        se=pl.Series(flat.std(0, ddof=1)),
        lower=pl.Series(lower),
        upper=pl.Series(upper),
        r_hat=pl.Series(np.atleast_1d(r_hat), dtype=pl.Float64),
        effective_draws=pl.Series(np.atleast_1d(effective), dtype=pl.Float64),
    )
    remarks = []
    if divergences:
        remarks.append(f"{divergences} draws diverged: a part of the posterior is not explored.")
    if r_hat.max() > AGREED:
        remarks.append(f"The chains do not agree: R-hat up to {r_hat.max():.3f}.")
    if effective.min() < ENOUGH:
        remarks.append(f"As few as {effective.min():.0f} effective draws: sample longer.")
    return WithinMode(table, values, divergences, relabelled, tuple(remarks))


def _inner(params: Parameters) -> Parameters:
    """The same with probabilities that have a logarithm."""
    return params._replace(
        initial_probs=np.maximum(params.initial_probs, 1e-300),
        transition_matrix=np.maximum(params.transition_matrix, 1e-300),
    )
