"""States as all other choices tell them: posteriors that do not look at the trial's own choice.

The smoothed posterior has seen the choice that it is compared with, so that sorting trials by it
sorts errors into the biased states. Without the own choice that comparison is fair, and needs
the model to be right only about the states. It is not about history: the choice still stands in
the regressors of the trials behind it.
"""

from dataclasses import replace

import numpy as np

from glmhmm_core.fitting.choice_laws import choice_laws
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult, SubjectFits

#: Below this a choice is as good as impossible in a state, and its share cannot be divided out.
LEAST = 1e-200


def without_own_choice(fits: SubjectFits) -> SubjectFits:
    """The same fits with smoothed posteriors from all choices but the trial's own.

    To be handed to ``accuracy_table`` or ``psychometric_table`` in place of the fits, as the
    check that their picture does not come from choices sorting themselves.
    """
    changed = (replace(fit, smoothed_state_probs=own_choice_removed(fit)) for fit in fits.fits)
    return replace(fits, fits=tuple(changed))


def own_choice_removed(fit: FitResult) -> np.ndarray:
    """P(z_t | all choices of the session but the trial's own), float64 (T, K).

    Proportional to the smoothed posterior over the likelihood of the choice; where none was
    made, the smoothed posterior itself.
    """
    laws = choice_laws(fit.fitted_params, fit.X)
    row = np.array(problem_of(fit).class_order).argsort()[np.maximum(fit.y, 0)]
    likelihood = laws[np.arange(len(fit.y)), :, row]
    share = fit.smoothed_state_probs / np.where(fit.mask[:, None], likelihood, 1.0).clip(LEAST)
    return share / share.sum(1, keepdims=True)
