"""`SoftmaxGLMHMM`: the GLM-HMM of this package as a Dynamax hidden Markov model.

Importing this file imports Dynamax, which takes seconds; nothing else in the core does.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from dynamax.hidden_markov_model.models.abstractions import HMM
from dynamax.hidden_markov_model.models.initial import ParamsStandardHMMInitialState
from dynamax.hidden_markov_model.models.transitions import ParamsStandardHMMTransitions

from glmhmm_core.design.arrays import classes, numbers, seen
from glmhmm_core.engine.parameters import Array, Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.model.driven import DrivenTransitions, ParamsDrivenTransitions
from glmhmm_core.model.emissions import NO_CHOICE, ParamsSoftmaxEmissions, SoftmaxEmissions
from glmhmm_core.model.initial import FlatInitialState
from glmhmm_core.model.transitions import StickyTransitions

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import FitResult


class ParamsSoftmaxGLMHMM(NamedTuple):
    """Parameters of a :class:`SoftmaxGLMHMM`, or their properties, in Dynamax's form."""

    initial: ParamsStandardHMMInitialState
    transitions: ParamsStandardHMMTransitions | ParamsDrivenTransitions
    emissions: ParamsSoftmaxEmissions


class SoftmaxGLMHMM(HMM):
    r"""Hidden Markov model whose states are softmax regressions from inputs to choices.

    .. math::
        z_1 \sim \mathrm{Cat}(\pi), \quad z_t \mid z_{t-1} \sim \mathrm{Cat}(A_{z_{t-1}}), \quad
        y_t \mid z_t, x_t \sim \mathrm{softmax}(W_{z_t} x_t)

    with :math:`W_k x` zero for the baseline class. With transition inputs :math:`u_t`, the last
    columns of the inputs, :math:`A` is :math:`A(u_t)` of the trial that is gone to: the log-odds
    of leaving a state for each other over staying are linear in them. The inputs carry the
    intercept: a column of ones. Dynamax's own methods work on it: ``fit_em`` (exact M-steps: the
    MAP objective never falls), ``fit_sgd``, ``smoother``, ``filter``, ``most_likely_states``,
    ``marginal_log_prob``, ``sample`` (open loop: inputs as given) and ``log_prob``.

    A choice of -1 is a trial without one, and so is one that a NumPy masked array masks: its
    state is inferred from its neighbours, and the M-step does not see it. Every sequence of a
    batch is a session of its own; shorter sessions are padded behind their end with -1 and any
    inputs, which changes neither likelihood nor optimum.

    Parameters
    ----------
    num_states, num_classes, num_features
        K states, C choices, M regressors.
    baseline_class_idx
        Class whose logit is fixed at zero.
    emission_prior_scale
        Standard deviation of the Gaussian prior on every weight, one number or one per
        regressor; infinity for none.
    transition_concentration, stickiness
        Dirichlet prior of each transition row: concentration of every entry, and what is added
        to it on the diagonal. 1 and 0 mean no prior. With transition inputs it is the prior of
        the matrix where these are 0.
    num_transition_features
        D; the inputs have so many columns more, behind the M of the choice. 0 for a constant
        chain.
    transition_prior_scale
        Standard deviation of the Gaussian prior on the weights of the transition inputs, one
        number or one per input; infinity for none.
    frozen_emissions : float64 (K, C-1, M), optional
        Values that weights are held at, NaN where they are free. Default: all free.
    frozen_transitions : float64 (K, K-1, D), optional
        The same of the transition inputs' weights.

    Raises
    ------
    InputError
        If a number makes no model or a prior has no mode.

    Examples
    --------
    >>> import jax.random as jr
    >>> model = SoftmaxGLMHMM(num_states=2, num_classes=2, num_features=1)
    >>> params, props = model.initialize(jr.key(0))
    >>> inputs = jr.normal(jr.key(1), (500, 1))
    >>> states, choices = model.sample(params, jr.key(2), 500, inputs)
    >>> fitted, objective = model.fit_em(params, props, choices, inputs, verbose=False)
    >>> bool((objective[1:] >= objective[:-1] - 1e-9).all())
    True
    """

    def __init__(
        self,
        num_states: int,
        num_classes: int,
        num_features: int,
        *,
        baseline_class_idx: int = 0,
        emission_prior_scale: float | tuple[float, ...] | np.ndarray = 2.0,
        transition_concentration: float = 2.0,
        stickiness: float = 0.0,
        num_transition_features: int = 0,
        transition_prior_scale: float | tuple[float, ...] | np.ndarray = 2.0,
        frozen_emissions: np.ndarray | None = None,
        frozen_transitions: np.ndarray | None = None,
    ) -> None:
        emissions = SoftmaxEmissions(
            num_states,
            num_classes,
            num_features,
            baseline_class_idx,
            emission_prior_scale,
            frozen_emissions,
        )
        transitions: StickyTransitions | DrivenTransitions = StickyTransitions(
            num_states, transition_concentration, stickiness
        )
        if num_transition_features:
            transitions = DrivenTransitions(
                num_states,
                num_transition_features,
                transition_concentration,
                stickiness,
                transition_prior_scale,
                frozen_transitions,
            )
        super().__init__(num_states, FlatInitialState(num_states), transitions, emissions)
        self.num_transition_features = num_transition_features
        self.num_classes = num_classes
        self.num_features = num_features
        self.baseline_class_idx = baseline_class_idx

    @classmethod
    def from_fit(cls, fit: "FitResult") -> "SoftmaxGLMHMM":
        """Model with the shape, the priors and the frozen weights of a fit.

        Parameters live outside of Dynamax models: those of the fit are
        ``model.params_from(fit.fitted_params)``; its inputs are ``np.hstack([fit.X, fit.U])``.
        """
        model = fit.specification
        driven = len(model.transition_names) if fit.num_states > 1 else 0
        emission, transition = model.fixed(fit.num_states)
        return cls(
            fit.num_states,
            model.num_classes,
            len(model.emission_names),
            baseline_class_idx=fit.baseline_class_idx,
            emission_prior_scale=model.emission_scale,
            transition_concentration=fit.settings.transition_concentration,
            stickiness=fit.settings.stickiness,
            num_transition_features=driven,
            transition_prior_scale=model.transition_scale if driven else 2.0,
            frozen_emissions=emission,
            frozen_transitions=transition if driven else None,
        )

    @property
    def inputs_shape(self) -> tuple[int, ...]:
        """Shape of one trial's inputs: those of the choice, then those of the transition."""
        return (self.num_features + self.num_transition_features,)

    @property
    def props(self) -> ParamsSoftmaxGLMHMM:
        """Properties of the parameters: what is trained, and how it is constrained."""
        return ParamsSoftmaxGLMHMM(
            self.initial_component.props(),
            self.transition_component.props(),
            self.emission_component.props(),
        )

    def initialize(
        self,
        key: jax.Array | None = None,
        method: str = "prior",
        initial_probs: Array | None = None,
        transition_matrix: Array | None = None,
        emission_weights: Array | None = None,
        transition_weights: Array | None = None,
    ) -> tuple[ParamsSoftmaxGLMHMM, ParamsSoftmaxGLMHMM]:
        """Parameters and their properties; what is not given is drawn from the prior.

        Parameters
        ----------
        key
            Random key, needed where something is to be drawn.
        method
            ``"prior"``.
        initial_probs, transition_matrix, emission_weights, transition_weights
            (K,), (K, K), (K, C-1, M) and (K, K-1, D), each optional. Frozen weights are put at
            their values.
        """
        keys = [None] * 3 if key is None else jr.split(key, 3)
        first, matrix, weights, driven = (
            None if a is None else jnp.asarray(a)
            for a in (initial_probs, transition_matrix, emission_weights, transition_weights)
        )
        chain = (matrix, driven) if self.num_transition_features else (matrix,)
        params = ParamsSoftmaxGLMHMM(
            self.initial_component.initialize(keys[0], method, first)[0],
            self.transition_component.initialize(keys[1], method, *chain)[0],
            self.emission_component.initialize(keys[2], method, weights)[0],
        )
        return params, self.props

    def params_from(self, parameters: Parameters) -> ParamsSoftmaxGLMHMM:
        """Parameters in Dynamax's form, for this model's methods."""
        return self.initialize(
            initial_probs=parameters.initial_probs,
            transition_matrix=parameters.transition_matrix,
            emission_weights=parameters.emission_weights,
            transition_weights=parameters.transition_weights,
        )[0]

    def parameters_of(self, params: ParamsSoftmaxGLMHMM) -> Parameters:
        """Parameters as the plain arrays that the rest of the package uses."""
        return Parameters(
            np.asarray(params.initial.probs),
            np.asarray(params.transitions.transition_matrix),
            np.asarray(params.emissions.weights),
            np.asarray(params.transitions.weights) if self.num_transition_features else None,
        )

    def fit_em(
        self, params: Any, props: Any, emissions: Any, inputs: Any = None, **options: Any
    ) -> tuple[ParamsSoftmaxGLMHMM, jax.Array]:
        """Dynamax's EM, after a check of the data; the trace is the MAP objective."""
        return super().fit_em(params, props, *self._data(emissions, inputs), **options)

    def fit_sgd(
        self, params: Any, props: Any, emissions: Any, inputs: Any = None, **options: Any
    ) -> tuple[ParamsSoftmaxGLMHMM, jax.Array]:
        """Dynamax's gradient descent, after a check of the data."""
        return super().fit_sgd(params, props, *self._data(emissions, inputs), **options)

    def log_prob(self, params: Any, states: Any, emissions: Any, inputs: Any = None) -> jax.Array:
        """Log-probability of states and choices together, after a check of the data."""
        return super().log_prob(params, states, *self._data(emissions, inputs))

    def _inference_args(self, params: Any, emissions: Any, inputs: Any) -> tuple[Any, ...]:
        return super()._inference_args(params, *self._data(emissions, inputs))

    def _data(self, emissions: Any, inputs: Any) -> tuple[Any, Any]:
        """Choices and inputs as JAX takes them; inside jit and vmap their shapes alone are checked.

        Raises
        ------
        InputError
            No softmax can use them.
        """
        where, columns = "SoftmaxGLMHMM", self.inputs_shape[0]
        traced = isinstance(emissions, jax.core.Tracer) or isinstance(inputs, jax.core.Tracer)
        if not traced and inputs is not None:
            inputs = numbers("inputs", inputs, where)
            shape = inputs.shape[:-1]
            emissions, _ = classes("choices", emissions, None, where, shape=shape)
            own = seen(inputs[..., : self.num_features], emissions != NO_CHOICE)
            inputs = np.concatenate([own, inputs[..., self.num_features :]], axis=-1)
        if inputs is None or np.shape(inputs) != (*np.shape(emissions), columns):
            raise InputError(
                f"choices {np.shape(emissions)} and inputs {np.shape(inputs)}",
                where=where,
                remedy=f"Give inputs as the choices with {columns} columns behind.",
            )
        if traced:
            return emissions, inputs
        wrong = emissions[(emissions < NO_CHOICE) | (emissions >= self.num_classes)]
        if wrong.size:
            raise InputError(
                f"a choice is {wrong[0]}",
                where=where,
                remedy=f"Give integers 0..{self.num_classes - 1}, and -1 where none was made.",
            )
        if not np.isfinite(inputs).all():
            raise InputError(
                "inputs are not all finite",
                where=where,
                remedy="Remove or fill the regressors that are NaN or infinite.",
            )
        return jnp.asarray(emissions), jnp.asarray(inputs)
