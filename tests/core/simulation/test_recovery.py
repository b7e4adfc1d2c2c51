"""The demo's mice are recovered as well as such data allow."""

from itertools import permutations

import numpy as np
import pytest

from glmhmm_core.fitting.fit import fit_glmhmm
from glmhmm_core.simulation.ibl_cohort import simulate_ibl_cohort

#: Standard deviations of estimates over 30 simulations of 56 sessions of 90 trials from the
#: parameters of CSHL_008, each refitted: states by (stimulus, bias, previous_choice, wsls, A_kk).
RECOVERY_SD = np.array(
    [
        [0.28, 0.07, 0.08, 0.09, 0.004],
        [0.15, 0.36, 0.25, 0.19, 0.008],
        [0.14, 0.18, 0.15, 0.15, 0.012],
    ]
)


def numbers(params):
    weights = np.asarray(params.emission_weights)[:, 0]
    return np.column_stack([weights, np.diag(params.transition_matrix)])


@pytest.mark.slow
def test_parameters_and_states_of_simulated_mice_are_found_again():
    errors, decoded = [], []
    for mouse in simulate_ibl_cohort(6, trials=90):
        fit = fit_glmhmm(
            mouse.y,
            mouse.X,
            mouse.session_ids,
            num_states=3,
            num_classes=2,
            mask=mouse.y >= 0,
            emission_prior_scale=(10.0, 3.0, 2.0, 2.0),
            n_restarts=6,
        )
        truth, found = numbers(mouse.params), numbers(fit.fitted_params)
        orders = [list(order) for order in permutations(range(3))]
        order = min(orders, key=lambda o: float(((found[o] - truth)[:, :4] ** 2).sum()))
        errors.append((found[order] - truth) / RECOVERY_SD)
        states = np.asarray(fit.smoothed_state_probs)[:, order].argmax(axis=1)
        decoded.append((states == mouse.states).mean())
    assert (np.abs(errors) < 2).mean() >= 0.9
    np.testing.assert_allclose(np.mean(decoded), 0.924, atol=0.015)
