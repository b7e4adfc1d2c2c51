"""Oracles for inference: slow and plain NumPy, straight from the formulas.

Nothing here calls the engine; only the tuple of its parameters is shared. Small cases are
solved by writing out every path of states, larger ones by the textbook's recursions.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from glmhmm_core.engine.parameters import Parameters


@dataclass(frozen=True)
class Trials:
    """Trials of one subject, a row each; ``y`` is -1 where no choice was made."""

    X: np.ndarray  # (n, M)
    U: np.ndarray  # (n, D)
    y: np.ndarray  # (n,)
    session_ids: np.ndarray  # (n,)
    num_classes: int
    baseline: int = 0

    @property
    def mask(self):
        return self.y >= 0

    @property
    def sessions(self):
        """Rows of each session, in order of first appearance."""
        return [np.flatnonzero(self.session_ids == s) for s in dict.fromkeys(self.session_ids)]

    def rows(self, which):
        """The same with these rows alone, in this order."""
        parts = (a[which] for a in (self.X, self.U, self.y, self.session_ids))
        return Trials(*parts, self.num_classes, self.baseline)


@dataclass(frozen=True)
class Statistics:
    """What a model says of trials."""

    log_likelihood: float
    smoothed: np.ndarray  # (n, K)
    filtered: np.ndarray  # (n, K)
    predicted: np.ndarray  # (n, K)
    transitions: np.ndarray  # (n, K, K), into each trial; 0 on the first of a session
    initial: np.ndarray  # (K,), expected number of sessions that begin in each state


def draw_params(rng, K, C, M, D=0, spread=1.5):
    """Random parameters; the weights tell the states apart."""
    driven = rng.normal(size=(K, K - 1, D)) if D else None
    return Parameters(
        rng.dirichlet(np.full(K, 2.0)),
        rng.dirichlet(np.full(K, 2.0), K),
        rng.normal(size=(K, C - 1, M)) * spread,
        driven,
    )


def draw_trials(rng, lengths, C, M, D=0, missing=0.2, baseline=0):
    """Random trials in sessions of these lengths, choices that depend on nothing."""
    n = sum(lengths)
    y = np.where(rng.random(n) < missing, -1, rng.integers(0, C, n))
    names = [f"s{i}" for i in range(len(lengths))]
    X = np.column_stack([rng.normal(size=(n, M - 1)), np.ones(n)])
    return Trials(X, rng.normal(size=(n, D)), y, np.repeat(names, lengths), C, baseline)


def simulate(rng, params, lengths, baseline=0, missing=0.02):
    """Choices of a model to random regressors, and its states (n,)."""
    K, rows, M = params.emission_weights.shape
    D = 0 if params.transition_weights is None else params.transition_weights.shape[2]
    trials = draw_trials(rng, lengths, rows + 1, M, D, 0.0, baseline)
    laws, chain = class_probs(params, trials), transition_probs(params, trials.U)
    z, y = np.empty(len(trials.y), int), np.empty(len(trials.y), int)
    for session in trials.sessions:
        for i, t in enumerate(session):
            law = chain[t, z[t - 1]] if i else params.initial_probs
            z[t] = rng.choice(K, p=law)
            y[t] = rng.choice(rows + 1, p=laws[t, z[t]])
    y[rng.random(len(y)) < missing] = -1
    return Trials(trials.X, trials.U, y, trials.session_ids, rows + 1, baseline), z


def class_probs(params, trials):
    """P(y_t = c | z_t = k), columns in class order: (n, K, C)."""
    logits = np.einsum("kcm,tm->tkc", params.emission_weights, trials.X)
    logits = np.insert(logits, trials.baseline, 0.0, axis=2)
    odds = np.exp(logits - logits.max(2, keepdims=True))
    return odds / odds.sum(2, keepdims=True)


def transition_probs(params, U):
    """P(z_t = j | z_{t-1} = i) for every trial t: (n, K, K)."""
    base = np.asarray(params.transition_matrix)
    K, n = len(base), len(U)
    if params.transition_weights is None:
        return np.broadcast_to(base, (n, K, K))
    probs = np.empty((n, K, K), np.result_type(base, params.transition_weights))
    for i in range(K):
        away = [j for j in range(K) if j != i]
        odds = np.tile(base[i] / base[i, i], (n, 1)).astype(probs.dtype)  # over staying, at u = 0
        odds[:, away] *= np.exp(U @ params.transition_weights[i].T)
        probs[:, i] = odds / odds.sum(1, keepdims=True)
    return probs


def likelihoods(params, trials):
    """P(y_t | z_t) of the choice made, 1 where none was: (n, K)."""
    laws = class_probs(params, trials)
    chosen = laws[np.arange(len(trials.y)), :, np.maximum(trials.y, 0)]
    return np.where(trials.mask[:, None], chosen, 1.0)


def by_enumeration(params, trials):
    """Statistics from all K^T paths of each session."""
    lik, chain = likelihoods(params, trials), transition_probs(params, trials.U)
    K, total = lik.shape[1], 0.0
    smoothed, filtered, predicted = (np.empty_like(lik) for _ in range(3))
    transitions, initial = np.zeros((len(lik), K, K)), np.zeros(K)
    for rows in trials.sessions:
        paths, weight = _paths(params.initial_probs, lik[rows], chain[rows])
        total += np.log(weight.sum())
        posterior = weight / weight.sum()
        smoothed[rows] = _marginals(paths, posterior, K)
        initial += smoothed[rows[0]]
        for path, w in zip(paths, posterior, strict=True):
            for t in range(1, len(rows)):
                transitions[rows[t], path[t - 1], path[t]] += w
        for t, row in enumerate(rows):
            known = lik[rows[: t + 1]].copy()
            here, w = _paths(params.initial_probs, known, chain[rows])
            filtered[row] = _marginals(here, w / w.sum(), K)[-1]
            known[-1] = 1.0
            here, w = _paths(params.initial_probs, known, chain[rows])
            predicted[row] = _marginals(here, w / w.sum(), K)[-1]
    return Statistics(float(total), smoothed, filtered, predicted, transitions, initial)


def best_paths(params, trials):
    """Most probable path of states of every session, by trying all: (n,)."""
    lik, chain = likelihoods(params, trials), transition_probs(params, trials.U)
    best = np.empty(len(trials.y), int)
    for rows in trials.sessions:
        paths, weight = _paths(params.initial_probs, lik[rows], chain[rows])
        best[rows] = paths[weight.argmax()]
    return best


def _paths(initial, lik, chain):
    """All paths (P, T) and the probability of each together with the choices."""
    paths = np.array(list(product(range(lik.shape[1]), repeat=len(lik))))
    weight = np.asarray(initial)[paths[:, 0]] * lik[0, paths[:, 0]]
    for t in range(1, len(lik)):
        weight = weight * chain[t, paths[:, t - 1], paths[:, t]] * lik[t, paths[:, t]]
    return paths, weight


def _marginals(paths, p, K):
    return np.stack([[p[paths[:, t] == k].sum() for k in range(K)] for t in range(paths.shape[1])])


def by_recursion(params, trials):
    """Statistics by the scaled forward and backward recursions (Rabiner 1989)."""
    lik, chain = likelihoods(params, trials), transition_probs(params, trials.U)
    steps = _steps(trials)
    predicted, filtered, scale = _filter(params, lik, chain, steps)
    ahead, xi = np.ones_like(lik), np.zeros((*lik.shape, lik.shape[1]), lik.dtype)
    for before, now in steps[:0:-1]:
        into = lik[now] * ahead[now] / scale[now, None]
        xi[now] = filtered[before][:, :, None] * chain[now] * into[:, None]
        ahead[before] = (chain[now] * into[:, None]).sum(2)
    smoothed = filtered * ahead
    initial = smoothed[steps[0][1]].sum(0)
    return Statistics(np.log(scale).sum(), smoothed, filtered, predicted, xi, initial)


def log_likelihood(params, trials):
    """log P(choices) by the forward recursion; complex where the parameters are."""
    lik, chain = likelihoods(params, trials), transition_probs(params, trials.U)
    return np.log(_filter(params, lik, chain, _steps(trials))[2]).sum()


def _steps(trials):
    """Rows that are the first of their sessions, the second, ..., each behind those before."""
    sessions = trials.sessions
    through = [
        [s[: t + 1][-2:] for s in sessions if len(s) > t] for t in range(max(map(len, sessions)))
    ]
    return [(np.array([s[0] for s in p]), np.array([s[-1] for s in p])) for p in through]


def _filter(params, lik, chain, steps):
    predicted, filtered = np.empty_like(lik), np.empty_like(lik)
    scale = np.empty_like(lik[:, 0])
    for t, (before, now) in enumerate(steps):
        carried = (filtered[before][:, :, None] * chain[now]).sum(1) if t else params.initial_probs
        predicted[now] = carried
        joint = predicted[now] * lik[now]
        scale[now] = joint.sum(1)
        filtered[now] = joint / scale[now, None]
    return predicted, filtered, scale


def params_at(theta, like):
    """Parameters at the coordinates: log initial, log-odds of leaving with weights, weights."""
    K, C1, M = like.emission_weights.shape
    D = 0 if like.transition_weights is None else like.transition_weights.shape[2]
    initial = np.exp(theta[:K])
    chain = theta[K : K + K * (K - 1) * (1 + D)].reshape(K, K - 1, 1 + D)
    matrix = np.ones((K, K), theta.dtype)
    for i in range(K):
        matrix[i, [j for j in range(K) if j != i]] = np.exp(chain[i, :, 0])
    return Parameters(
        initial / initial.sum(),
        matrix / matrix.sum(1, keepdims=True),
        theta[K + chain.size :].reshape(K, C1, M),
        chain[:, :, 1:] if D else None,
    )


def gradient(function, theta):
    """Gradient of a real analytic function by complex steps, exact to rounding."""
    steps = 1e-30j * np.eye(len(theta))
    return np.array([np.imag(function(theta + step)) / 1e-30 for step in steps])


def numeric_gradient(function, theta, h=1e-4):
    """Gradient by differences of fourth order, for functions of real arguments alone."""
    steps = h * np.eye(len(theta))
    return np.array(
        [
            (
                8 * (function(theta + s) - function(theta - s))
                - (function(theta + 2 * s) - function(theta - 2 * s))
            )
            / (12 * h)
            for s in steps
        ]
    )


def slope_along(slope, theta, seed=0):
    """Two directions, and by how much a slope changes along each: their products with the Hessian.

    Every coordinate takes part in both, so that every entry of a Hessian counts, at a fraction of
    the cost of a difference for each.
    """
    rng = np.random.default_rng(seed)
    directions = rng.choice([-1.0, 1.0], (2, len(theta))) * rng.uniform(0.3, 1.0, (2, len(theta)))
    return directions, numeric_gradient(lambda z: slope(theta + z @ directions), np.zeros(2))
