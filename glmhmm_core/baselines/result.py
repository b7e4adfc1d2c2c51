"""What a fitted baseline gives back, scored as a GLM-HMM is.

Fields and scores have the names and definitions of ``fitting.result`` and ``comparison.scores``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.problem import Problem

Params = TypeVar("Params")


@dataclass(frozen=True)
class BaselineFold(Generic[Params]):
    """One split of sessions. Log-likelihoods in nats per trial with a choice.

    ``baseline_log_likelihood_per_trial`` is that of the training choices' frequencies (half a
    count added to each class) on the test trials; bits are over it (Ashwood et al. 2022).
    ``test_session_log_likelihoods`` are sums over each test session's choices and add up to that
    of the split.
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
    final_training_objective: float
    converged: bool
    test_session_log_likelihoods: tuple[float, ...]
    test_session_trial_counts: tuple[int, ...]
    fitted_params: Params = field(compare=False, repr=False)

    @property
    def test_log_likelihood(self) -> float:
        """Held-out log-likelihood, nats."""
        return math.fsum(self.test_session_log_likelihoods)

    @property
    def test_bits_per_trial(self) -> float:
        """Held-out information over the training frequencies, in bits per trial."""
        gain = self.test_log_likelihood_per_trial - self.baseline_log_likelihood_per_trial
        return gain / math.log(2)


@dataclass(frozen=True)
class BaselineFit(Generic[Params]):
    """A fitted baseline, rows in the caller's order.

    Attributes
    ----------
    model
        Name: ``glm``, ``lapse_class_1``, ``lapse_class``, ``lapse_history``,
        ``lapse_history_conditioned``, ``private_alternative``, ``drifting_weights``,
        ``glmhmm_sessions``.
    fitted_params
        Parameters of the best start.
    names
        Names of the regressors.
    num_parameters
        Free parameters.
    objective_log_probability
        What was maximised, at ``fitted_params``: log-likelihood plus log prior of the weights;
        of drifting weights the marginal likelihood. Nats.
    choice_probs : float64 (T, C)
        P(y_t | choices before t).
    trial_log_likelihood : float64 (T,)
        log P(y_t | choices before t), nats; 0 where no choice was made.
    y, mask, session_ids
        As given, (T,).
    start_objectives : float64 (R,)
        Where each start ended.
    gradient_norm, iterations, converged
        Largest derivative of the objective at the best start's end, its steps, and whether the
        tolerance was met.
    cv_metrics
        One entry per split of sessions.
    prospective
        One entry per split that trains on the past alone, where such were asked for apart.
    remarks
        What the fit should be read with, one sentence each.
    num_states
        1 of models without states.
    """

    model: str
    fitted_params: Params
    names: tuple[str, ...]
    num_parameters: int
    objective_log_probability: float
    choice_probs: np.ndarray
    trial_log_likelihood: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    session_ids: np.ndarray
    baseline_class_idx: int
    start_objectives: np.ndarray
    gradient_norm: float
    iterations: int
    converged: bool
    cv_metrics: tuple[BaselineFold[Params], ...] = ()
    prospective: tuple[BaselineFold[Params], ...] = ()
    remarks: tuple[str, ...] = ()
    num_states: int = 1

    @property
    def num_classes(self) -> int:
        """C."""
        return self.choice_probs.shape[1]

    @property
    def num_choices(self) -> int:
        """Trials with a choice."""
        return int(self.mask.sum())

    @property
    def raw_log_likelihood(self) -> float:
        """Log P(choices), nats."""
        return float(self.trial_log_likelihood.sum())

    @property
    def log_likelihood_per_trial(self) -> float:
        """The same per trial with a choice, nats."""
        return self.raw_log_likelihood / max(self.num_choices, 1)

    @property
    def accuracy(self) -> float:
        """Share of choices that are the most probable one given those before."""
        return accuracy_among(self.choice_probs, self.y, self.mask)

    @property
    def bits_per_trial(self) -> float:
        """In-sample log-likelihood over that of the choices' own frequencies, bits per trial."""
        y = self.y[self.mask]
        frequencies = np.bincount(y, minlength=self.num_classes) / len(y)
        return (self.log_likelihood_per_trial - float(np.log(frequencies[y]).mean())) / math.log(2)

    @property
    def aic(self) -> float:
        """Akaike's information criterion, nats times two; lower is better."""
        return 2 * self.num_parameters - 2 * self.raw_log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's information criterion over the trials with a choice; lower is better."""
        return self.num_parameters * math.log(self.num_choices) - 2 * self.raw_log_likelihood

    @property
    def heldout_bits_per_trial(self) -> float | None:
        """Held-out information, bits per trial, weighted by trials; None without splits."""
        return _over_folds(self.cv_metrics, "test_bits_per_trial")

    @property
    def heldout_accuracy(self) -> float | None:
        """Share of held-out choices predicted one step ahead; None without splits."""
        return _over_folds(self.cv_metrics, "test_accuracy")


@dataclass(frozen=True)
class SubjectBaselines:
    """All baselines of one subject.

    Attributes
    ----------
    subject
        Name of the subject.
    fingerprint
        Hash of data, settings and sources that made these.
    fits
        One result per model.
    notes
        What was asked for and could not be had, one sentence each.
    """

    subject: str
    fingerprint: str
    fits: tuple[BaselineFit[Any], ...]
    notes: tuple[str, ...] = ()


def _over_folds(folds: Sequence[BaselineFold], score: str) -> float | None:
    counted = [fold for fold in folds if fold.test_trial_count]
    if not counted:
        return None
    weights = [fold.test_trial_count for fold in counted]
    return float(np.average([getattr(fold, score) for fold in counted], weights=weights))


def accuracy_among(choice_probs: np.ndarray, y: np.ndarray, among: np.ndarray) -> float:
    """Share of choices that are the most probable one; NaN of none."""
    return _mean((choice_probs.argmax(1) == y)[among].astype(np.float64))


def score_fold(
    problem: Problem,
    splits: Splits,
    fold: int,
    params: Params,
    choice_probs: np.ndarray,
    test_sessions: np.ndarray,
    training_log_likelihood: float,
    objective: float,
    converged: bool,
) -> BaselineFold[Params]:
    """Scores of one split.

    Parameters
    ----------
    choice_probs : (T, C)
        P(y_t | choices before t) under the parameters of the split.
    test_sessions : (S,)
        Held-out log-likelihood of each session, nats; read at the test sessions.
    training_log_likelihood
        Of all training choices, nats.
    """
    train_sessions, tested = splits.train[fold], splits.test[fold]
    train = problem.mask & train_sessions[problem.session_index]
    test = problem.mask & tested[problem.session_index]
    names = np.array(problem.sessions, dtype=object)
    counts = np.bincount(problem.y[train], minlength=problem.num_classes) + 0.5
    frequencies = np.log(counts / counts.sum())
    choices = np.bincount(problem.session_index[test], minlength=len(names))
    sums = tuple(test_sessions[tested].tolist())
    num_test = int(test.sum())
    return BaselineFold(
        fold_index=fold,
        training_session_ids=tuple(names[train_sessions]),
        test_session_ids=tuple(names[tested]),
        training_trial_count=int(train.sum()),
        test_trial_count=num_test,
        training_log_likelihood_per_trial=training_log_likelihood / int(train.sum()),
        test_log_likelihood_per_trial=math.fsum(sums) / num_test if num_test else math.nan,
        baseline_log_likelihood_per_trial=_mean(frequencies[problem.y[test]]),
        training_accuracy=accuracy_among(choice_probs, problem.y, train),
        test_accuracy=accuracy_among(choice_probs, problem.y, test),
        final_training_objective=objective,
        converged=converged,
        test_session_log_likelihoods=sums,
        test_session_trial_counts=tuple(choices[tested].tolist()),
        fitted_params=params,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan
