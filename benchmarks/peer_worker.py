"""One peer fits one data set from one starting point; runs in the peer's own environment.

``python -m benchmarks.peer_worker PEER DATA RESULT``: standard library, numpy and the peer
alone. Times exclude imports and compilation, and are of the peer's own EM loop; how far it got
is judged between the timed pieces by the common evaluator.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from benchmarks.evaluator import Model, log_likelihoods, stack

#: Dirichlet concentrations of a flat prior; at 1 exactly a state that is never visited makes
#: the mode that the peers compute NaN.
FLAT = 1.0 + 1e-6


class Piece(NamedTuple):
    """Models after some iterations of EM, evenly spaced; the last after ``iterations``."""

    iterations: int
    models: list[Model]


#: A peer that is ready: gives EM from the start, piece by piece, until it finds itself converged.
Begin = Callable[[], Iterator[Piece]]


def glmhmmt(data: dict[str, np.ndarray], start: Model) -> Begin:
    """``fit_em_multisession`` of glmhmmt, step by step as its loop does, without its L2 prior."""
    jnp = import_module("jax.numpy")
    module = import_module("glmhmmt.model")
    num_states, width = start.weights.shape
    model = module.SoftmaxGLMHMM(
        num_states=num_states,
        num_classes=2,
        emission_input_dim=width,
        transition_input_dim=0,
        initial_probs_concentration=FLAT,
        transition_matrix_concentration=FLAT,
    )
    model.emission_component.log_prior = lambda _: 0.0
    first, props = model.initialize(
        initial_probs=jnp.asarray(start.initial),
        transition_matrix=jnp.asarray(start.transition),
        emission_weights=jnp.asarray(start.weights)[:, None],
    )
    sessions = model._split_by_session(data["y"], data["X"], data["session"])
    choices, inputs, _ = model._pad_sessions(sessions)

    def begin() -> Iterator[Piece]:
        params, state = first, model.initialize_m_step_state(first, props)
        while True:
            made = []
            for _ in range(10):
                stats, log_likelihood = model._batched_e_step_jit(params, choices, inputs)
                float(jnp.sum(log_likelihood))
                params, state = model._m_step_jit(params, props, stats, state)
                made.append(params)
            models = [
                Model(
                    np.asarray(p.initial.probs),
                    np.asarray(p.transitions.transition_matrix),
                    np.asarray(p.emissions.weights)[:, 0],
                )
                for p in made
            ]
            yield Piece(10, models)

    return begin


def _dynamax(
    model: Any,
    data: dict[str, np.ndarray],
    start: Model,
    weights: dict[str, np.ndarray],
    read: Callable[[Any], np.ndarray],
) -> Begin:
    """``fit_em`` of Dynamax, compiled once: its own compiles anew at every call."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    first, props = model.initialize(
        initial_probs=jnp.asarray(start.initial),
        transition_matrix=jnp.asarray(start.transition),
        **{name: jnp.asarray(value) for name, value in weights.items()},
    )
    sessions = len(np.unique(data["session"]))
    choices = jnp.asarray(data["y"].reshape(sessions, -1))
    inputs = jnp.asarray(np.delete(data["X"], data["bias"], 1).reshape(*choices.shape, -1))

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state = carry
        stats, _log = jax.vmap(lambda e, u: model.e_step(params, e, u))(choices, inputs)
        params, state = model.m_step(params, props, stats, state)
        return (params, state), params

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=10))

    def begin() -> Iterator[Piece]:
        carry = (first, model.initialize_m_step_state(first, props))
        while True:
            carry, made = jax.block_until_ready(run(carry))
            parts = [made.initial.probs, made.transitions.transition_matrix, read(made.emissions)]
            yield Piece(10, [Model(*e) for e in zip(*map(np.asarray, parts), strict=True)])

    return begin


def dynamax_categorical(data: dict[str, np.ndarray], start: Model) -> Begin:
    """Dynamax's CategoricalRegressionHMM; the bias is a parameter of its own there."""
    module = import_module("dynamax.hidden_markov_model")
    bias = int(data["bias"])
    slopes, offsets = np.delete(start.weights, bias, 1), start.weights[:, bias]
    model = module.CategoricalRegressionHMM(
        *(len(slopes), 2, slopes.shape[1]),
        initial_probs_concentration=FLAT,
        transition_matrix_concentration=FLAT,
    )
    weights = {
        "emission_weights": np.stack([0 * slopes, slopes], 1),
        "emission_biases": np.stack([0 * offsets, offsets], 1),
    }

    def read(emissions: Any) -> np.ndarray:
        slopes, offsets = np.asarray(emissions.weights), np.asarray(emissions.biases)
        slopes, offsets = slopes[..., 1, :] - slopes[..., 0, :], offsets[..., 1] - offsets[..., 0]
        return np.insert(slopes, bias, offsets, -1)

    return _dynamax(model, data, start, weights, read)


def dynamax_logistic(data: dict[str, np.ndarray], start: Model) -> Begin:
    """Dynamax's LogisticRegressionHMM."""
    module = import_module("dynamax.hidden_markov_model")
    bias = int(data["bias"])
    slopes = np.delete(start.weights, bias, 1)
    model = module.LogisticRegressionHMM(
        *slopes.shape, initial_probs_concentration=FLAT, transition_matrix_concentration=FLAT
    )
    weights = {"emission_weights": slopes, "emission_biases": start.weights[:, bias]}

    def read(emissions: Any) -> np.ndarray:
        return np.insert(np.asarray(emissions.weights), bias, np.asarray(emissions.biases), -1)

    return _dynamax(model, data, start, weights, read)


def nemos(data: dict[str, np.ndarray], start: Model) -> Begin:
    """NeMoS's GLMHMM: ``fit``, continued from where it stood."""
    module = import_module("nemos")
    bias = int(data["bias"])
    X, y = np.delete(data["X"], bias, 1), data["y"].astype(np.float64)
    session_starts = np.concatenate([[True], data["session"][1:] != data["session"][:-1]])
    model = module.glm_hmm.GLMHMM(
        n_states=len(start.initial),
        observation_model="Bernoulli",
        regularizer="UnRegularized",
        maxiter=20,
    )
    warnings.simplefilter("ignore", RuntimeWarning)  # that a piece is not converged

    def begin() -> Iterator[Piece]:
        coef, intercept = np.delete(start.weights, bias, 1).T, start.weights[:, bias]
        at = (coef, intercept, np.ones(len(intercept)), start.initial, start.transition)
        while True:
            model.fit(X, y, init_params=at, session_starts=session_starts)
            at = (
                model.coef_,
                model.intercept_,
                model.scale_,
                model.initial_prob_,
                model.transition_prob_,
            )
            coef, intercept, _, initial, transition = map(np.asarray, at)
            found = Model(initial, transition, np.insert(coef.T, bias, intercept, 1))
            yield Piece(int(model.solver_state_.iterations), [found])
            if bool(model.solver_state_.converged):
                return

    return begin


PEERS: dict[str, Callable[[dict[str, np.ndarray], Model], Begin]] = {
    "glmhmmt": glmhmmt,
    "dynamax_categorical": dynamax_categorical,
    "dynamax_logistic": dynamax_logistic,
    "nemos": nemos,
}


class CompileClock:
    """Adds up what JAX spends on compiling, so that it can be taken out."""

    def __init__(self) -> None:
        self.seconds = 0.0
        import_module("jax").monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration: float, **_: object) -> None:
        # Tracing is not counted: its times are nested, and it is small beside the other two.
        if event.endswith(("backend_compile_duration", "to_mlir_module_duration")):
            self.seconds += duration


def main(peer: str, data_file: str, result_file: str) -> None:
    """Fit until within reach of the target and past the own stop, or to the limits."""
    data = dict(np.load(data_file))
    begin = PEERS[peer](data, Model(data["initial"], data["transition"], data["weights"]))
    compiling = CompileClock()
    next(begin())
    compiled = compiling.seconds

    elapsed, made = 0.0, 0
    trace: list[tuple[float, float, float]] = []
    pieces = begin()
    while made < int(data["iterations"]) and elapsed < float(data["seconds"]):
        before, busy = time.perf_counter(), compiling.seconds
        piece = next(pieces, None)
        if piece is None:
            break
        took = time.perf_counter() - before - (compiling.seconds - busy)
        values = log_likelihoods(stack(piece.models), data["X"], data["y"], data["bounds"])
        for share, value in zip(np.linspace(0, 1, len(values) + 1)[1:], values, strict=True):
            trace.append((made + piece.iterations * share, elapsed + took * share, value))
        elapsed, made = elapsed + took, made + piece.iterations
        if made >= int(data["own_stop"]) and values[-1] >= float(data["target"]):
            break
    np.savez(result_file, trace=np.array(trace), compiled=compiled)


if __name__ == "__main__":
    main(*sys.argv[1:])
