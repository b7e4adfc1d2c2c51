"""What a fit gives back: a fitted model, a subject's set of them, or why there is none.

Importing this starts no JAX: whoever only passes results on needs none.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_core.fitting.settings import FitSettings

if TYPE_CHECKING:
    from glmhmm_core.engine.parameters import Parameters
    from glmhmm_core.fitting.specification import Frozen, Specification
    from glmhmm_core.model.softmax_glmhmm import SoftmaxGLMHMM


@dataclass(frozen=True)
class CVFoldResult:
    """One fold of held-out sessions. Log-likelihoods in nats per trial with a choice.

    ``fitted_params`` were fitted without the test sessions. For each of these,
    ``test_session_log_likelihoods`` has the sum over its trials in nats and
    ``test_session_trial_counts`` its number of choices.
    ``baseline_log_likelihood_per_trial`` is that of the training choices' frequencies (half a
    count added to each class) on the held-out trials; bits are over it (Ashwood et al. 2022).
    """

    fold_index: int
    training_session_ids: tuple[str, ...]
    test_session_ids: tuple[str, ...]
    training_trial_count: int
    test_trial_count: int
    training_log_likelihood_per_trial: float
    test_log_likelihood_per_trial: float
    baseline_log_likelihood_per_trial: float
    training_accuracy: float
    test_accuracy: float
    best_restart: int
    final_training_objective: float
    converged: bool
    test_session_log_likelihoods: tuple[float, ...]
    test_session_trial_counts: tuple[int, ...]
    fitted_params: "Parameters" = field(compare=False, repr=False)

    @property
    def test_bits_per_trial(self) -> float:
        """Held-out information over the training frequencies, in bits per trial."""
        gain = self.test_log_likelihood_per_trial - self.baseline_log_likelihood_per_trial
        return gain / float(np.log(2))


@dataclass(frozen=True)
class OwnOptimum:
    """The best of a subject's own restarts beside the optimum reached from the population's fit.

    Attributes
    ----------
    chosen
        Whether the fit is the own optimum: only where it predicts held-out choices better by
        more than one standard error.
    objective_gain
        MAP objective of the own optimum over the other, nats.
    heldout_gain, heldout_gain_se
        Held-out bits per trial over the other's, and its standard error over folds; None
        without folds.
    state_agreement
        Share of trials whose most probable state is the same in both, states matched.
    """

    chosen: bool
    objective_gain: float
    heldout_gain: float | None
    heldout_gain_se: float | None
    state_agreement: float

    @property
    def ambiguous(self) -> bool:
        """Whether two different pictures explain the choices about equally well.

        Other states (fewer than nine trials in ten agree) within 5 nats, or within one standard
        error held out.
        """
        if self.state_agreement >= 0.9:
            return False
        if abs(self.objective_gain) <= 5.0:
            return True
        if self.heldout_gain is None or self.heldout_gain_se is None:
            return False
        return abs(self.heldout_gain) <= self.heldout_gain_se


@dataclass(frozen=True)
class Succession:
    """How a refit stands to the subject's earlier fit with as many states.

    Attributes
    ----------
    earlier
        Fingerprint of the earlier fits.
    new_sessions
        Sessions that the earlier fit never saw.
    changed_sessions
        Sessions that it saw and that were corrected or removed since.
    new_choices
        Choices in the new sessions.
    log_likelihood, bits_per_trial, glm_bits_per_trial
        Of the new sessions' choices under the earlier model, in nats; per choice over the
        frequencies that the earlier fit saw (half a count added to each class), in bits; and
        the same of the earlier model with one state. None without new choices; the last also
        where that model was not fitted.
    match_cost, match_margin
        Mean over states of the cost of taking them for the earlier fit's, and what the next
        best assignment costs more (None if there is none); see ``states.matching``.
    ambiguous, reason
        Whether the states are not the earlier ones beyond doubt, and why.
    """

    earlier: str
    new_sessions: tuple[str, ...]
    changed_sessions: tuple[str, ...]
    new_choices: int
    log_likelihood: float | None
    bits_per_trial: float | None
    glm_bits_per_trial: float | None
    match_cost: float
    match_margin: float | None
    ambiguous: bool
    reason: str

    @property
    def gain_over_glm(self) -> float | None:
        """Bits per trial over the model with one state; None where either is not known."""
        if self.bits_per_trial is None or self.glm_bits_per_trial is None:
            return None
        return self.bits_per_trial - self.glm_bits_per_trial


@dataclass(frozen=True)
class FitResult:
    """A fitted softmax GLM-HMM with everything a reader of it needs, rows in the caller's order.

    Attributes
    ----------
    fitted_params
        Parameters of the best restart.
    log_probability : float64 (iterations + 1,)
        MAP objective of the best restart at each accepted iterate, from its start on; the last
        is that of ``fitted_params`` exactly.
    best_restart
        Index of the restart whose end this is: that with the highest objective; after a start
        from the population's fit, which is restart 0, as ``own_optimum`` says.
    restart_log_probability : float64 (R, max iterations + 1)
        The same trace for every restart, NaN behind its end.
    restart_objectives : float64 (R,), restart_iterations : int (R,), restart_converged : bool (R,)
        Where each restart ended, after how many iterations, and whether it met the tolerances.
    y, X, U, mask, session_ids
        The data, as given: (T,) choices, (T, M) regressors of the choice and (T, D) of the
        transitions, (T,) true where a choice was made, (T,) session of each trial.
    smoothed_state_probs, predictive_state_probs : float64 (T, K)
        P(z_t | all choices of the session) and P(z_t | choices before t).
    choice_probs : float64 (T, C)
        P(y_t | choices before t).
    raw_log_likelihood
        log P(choices) in nats.
    accuracy
        Share of choices that are the most probable one under ``choice_probs``.
    cv_metrics
        One entry per fold, empty when no folds were asked for.
    specification, settings
        The model, and how it was fitted.
    remarks
        What the fit should be read with, one sentence each: regressors and choices that the
        data say nothing of.
    own_optimum
        How the subject's own restarts compare with the start from the population's fit; None
        where there was none.
    succession
        How this stands to the subject's earlier fit; None where there was none. States are in
        the earlier fit's order.
    """

    fitted_params: "Parameters"
    log_probability: np.ndarray
    best_restart: int
    restart_log_probability: np.ndarray
    restart_objectives: np.ndarray
    restart_iterations: np.ndarray
    restart_converged: np.ndarray
    y: np.ndarray
    X: np.ndarray
    U: np.ndarray
    mask: np.ndarray
    session_ids: np.ndarray
    smoothed_state_probs: np.ndarray
    predictive_state_probs: np.ndarray
    choice_probs: np.ndarray
    raw_log_likelihood: float
    accuracy: float
    num_states: int
    baseline_class_idx: int
    specification: "Specification"
    settings: FitSettings
    cv_metrics: tuple[CVFoldResult, ...] = ()
    remarks: tuple[str, ...] = ()
    own_optimum: OwnOptimum | None = None
    succession: Succession | None = None

    @property
    def num_classes(self) -> int:
        """C."""
        return self.specification.num_classes

    @property
    def emission_names(self) -> tuple[str, ...]:
        """Names of the M regressors of the choice."""
        return self.specification.emission_names

    @property
    def transition_names(self) -> tuple[str, ...]:
        """Names of the D transition regressors; none for a constant chain."""
        return self.specification.transition_names

    @property
    def frozen_emissions(self) -> "Frozen":
        """Emission weights that were held fixed: state -> regressor -> value."""
        return self.specification.frozen_emissions

    @property
    def frozen_transitions(self) -> "Frozen":
        """Transition weights that were held fixed: state -> regressor -> value."""
        return self.specification.frozen_transitions

    @property
    def objective_log_probability(self) -> float:
        """MAP objective (log-likelihood plus log prior) at ``fitted_params``, nats."""
        return float(self.log_probability[-1])

    @property
    def converged(self) -> bool:
        """Whether the best restart met the tolerances."""
        return bool(self.restart_converged[self.best_restart])

    @property
    def num_iterations(self) -> int:
        """Iterations of the best restart."""
        return int(self.restart_iterations[self.best_restart])

    @property
    def num_choices(self) -> int:
        """Trials with a choice."""
        return int(self.mask.sum())

    @property
    def log_likelihood_per_trial(self) -> float:
        """``raw_log_likelihood`` per trial with a choice, nats."""
        return self.raw_log_likelihood / max(self.num_choices, 1)

    @cached_property
    def model(self) -> "SoftmaxGLMHMM":
        """The same model as a Dynamax HMM (imports Dynamax on first use)."""
        from glmhmm_core.model.softmax_glmhmm import SoftmaxGLMHMM

        return SoftmaxGLMHMM.from_fit(self)


@dataclass(frozen=True)
class Excluded:
    """A subject that could not be used at some stage, with the reason; the others go on."""

    subject: str
    reason: str


@dataclass(frozen=True)
class SubjectFits:
    """All models fitted to one subject, by number of states.

    Attributes
    ----------
    subject
        Name of the subject.
    fingerprint
        Hash of data, settings and sources that made these fits.
    choice_names
        Names of the C classes.
    fits
        One result per number of states, ascending; all on the same rows.
    keys_session, keys_trial : (T,)
        Session and trial number of each row, the keys into the trial table.
    notes
        What was asked for and could not be fitted, one sentence each.
    population
        Fingerprint of the population's fit that these started from; None if there was none.
    earlier
        Fingerprint of the subject's earlier fits that these started from too; None if there were
        none.
    """

    subject: str
    fingerprint: str
    choice_names: tuple[str, ...]
    keys_session: np.ndarray
    keys_trial: np.ndarray
    fits: tuple[FitResult, ...]
    notes: tuple[str, ...] = ()
    population: str | None = None
    earlier: str | None = None

    def find(self, num_states: int) -> FitResult | None:
        """The fit with that many states, None if there is none."""
        return next((fit for fit in self.fits if fit.num_states == num_states), None)

    def __getitem__(self, num_states: int) -> FitResult:
        """The fit with that many states."""
        return next(fit for fit in self.fits if fit.num_states == num_states)
