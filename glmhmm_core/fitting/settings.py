"""How a GLM-HMM is fitted: priors, restarts, stopping and folds, in one value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FrozenWeight:
    """A weight that is not fitted but held at a value.

    Attributes
    ----------
    state
        Number of the state, from 0. States without frozen weights are exchangeable and get their
        names after the fit; a frozen weight is what tells its state from the others, in every
        fit and for every subject. It holds in all models of more than one state that have it.
    regressor
        Name of the regressor.
    value
        What the weight of every class but the baseline is held at; of a transition regressor, the
        weight on leaving the state for every other one.
    of_transition
        Whether it is a regressor of the transitions.
    """

    state: int
    regressor: str
    value: float = 0.0
    of_transition: bool = False


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit; the defaults are for one subject of some thousand trials.

    Attributes
    ----------
    emission_prior_scale
        Standard deviation of the Gaussian prior on every weight: one number, one per
        regressor, or infinity for none. None takes what the task proposes for each regressor.
    transition_prior_scale
        The same for the weights of transition regressors, where there are any.
    transition_regressors
        Columns of the design's transition regressors that drive the chain (GLM-HMM-T); none for
        a constant chain.
    frozen
        Weights that are not fitted.
    transition_concentration, stickiness
        Dirichlet prior of each transition row: concentration of every entry, and what is added
        to it on the diagonal. EM's mode adds ``concentration - 1`` (+ ``stickiness``); 1 and 0
        mean no prior.
    n_restarts
        Starting points per model, besides a warm start; at least 1 without one.
    max_iters
        Iterations after which a restart is given up as not converged.
    tol
        Relative tolerance on the MAP objective.
    seed
        Root of every random number, together with subject, number of states and restart.
    cv_folds
        Folds of held-out sessions; 0 for none.
    """

    emission_prior_scale: float | tuple[float, ...] | None = 2.0
    transition_prior_scale: float | tuple[float, ...] | None = 2.0
    transition_concentration: float = 2.0
    stickiness: float = 0.0
    n_restarts: int = 20
    max_iters: int = 1000
    tol: float = 1e-9
    seed: int = 0
    cv_folds: int = 0
    transition_regressors: tuple[str, ...] = ()
    frozen: tuple[FrozenWeight, ...] = ()
