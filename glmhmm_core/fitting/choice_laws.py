"""What each state makes of each trial: the law of its choice, in plain NumPy."""

import numpy as np

from glmhmm_core.engine.parameters import Parameters


def choice_laws(params: Parameters, X: np.ndarray) -> np.ndarray:
    """P(y_t = c | z_t = k, x_t), the baseline class first: float64 (T, K, C).

    Parameters
    ----------
    X : (T, M)
        Regressors of the choice.
    """
    logits = np.einsum("kcm,tm->tkc", np.asarray(params.emission_weights), X)
    logits = np.concatenate([np.zeros((*logits.shape[:2], 1)), logits], axis=2)
    odds = np.exp(logits - logits.max(2, keepdims=True))
    return odds / odds.sum(2, keepdims=True)
