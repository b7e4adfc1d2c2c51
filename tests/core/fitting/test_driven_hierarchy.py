"""The hierarchical fit with transition regressors: their weights are random effects too."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from core.engine.climbs import MAX_ITERS
from core.fitting.fitted import design_of
from core.oracles import gradient, log_likelihood, params_at, simulate

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import (
    FitSettings,
    fit_hierarchy,
    fit_population,
    fit_shrunken,
    fit_subjects,
    forecast_shrunken,
)
from glmhmm_core.fitting.empirical_bayes import hyperprior
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.fitting.hierarchy_store import load_hierarchy, save_hierarchy
from glmhmm_core.fitting.settings import FrozenWeight

SETTINGS = FitSettings(
    emission_prior_scale=3.0,
    transition_prior_scale=1.5,
    transition_regressors=("u0",),
    n_restarts=2,
    max_iters=MAX_ITERS,
)
SUBJECTS, SESSIONS, LENGTH = 8, 4, 60
#: Of leaving either state, per unit of the regressor: mean and spread over subjects.
DRIVEN_MEAN, DRIVEN_SD = np.array([1.5, -1.0]), 0.4
MEAN, SD = np.array([[4.0, 0.2], [0.5, -1.5]]), np.array([[1.0, 0.4], [0.4, 0.6]])


@cache
def cohort():
    """Subjects drawn from a population: their parameters, sessions to fit, and many more."""
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(SUBJECTS):
        leave = 1 / (1 + np.exp(-rng.normal(-2.5, 0.3, 2)))
        params = Parameters(
            np.array([0.5, 0.5]),
            np.array([[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]]),
            (MEAN + SD * rng.normal(size=MEAN.shape))[:, None],
            (DRIVEN_MEAN + DRIVEN_SD * rng.normal(size=2))[:, None, None],
        )
        drawn.append((params, *(simulate(rng, params, (LENGTH,) * n)[0] for n in (SESSIONS, 30))))
    return drawn


@cache
def designs():
    return {f"s{i}": design_of(trials, f"s{i}") for i, (_, trials, _) in enumerate(cohort())}


@cache
def pooled():
    return fit_population(designs(), [2], SETTINGS)


@cache
def learned():
    return fit_hierarchy(designs(), pooled(), [2], 1)


@cache
def shrunken():
    return fit_shrunken(designs(), learned())


def test_mean_and_spread_of_the_driving_weights_are_those_of_the_truth():
    level = learned().level(2)
    order = np.argsort(-level.prior.weight_mean[:, 0, 0])
    true = np.array([params.transition_weights[:, 0, 0] for params, _, _ in cohort()])
    mean, sd = level.prior.chain_mean[order, 0, 1], level.prior.chain_sd[order, 0, 1]
    assert level.converged
    np.testing.assert_allclose(mean, true.mean(0), atol=0.5)
    assert np.all(sd < 3 * DRIVEN_SD)  # where there is no telling it would be 1.5


def test_driving_weights_are_expected_as_the_ordinary_prior_has_them():
    named = free_parameters(pooled()[2])
    hyper = hyperprior(pooled()[2], named, named.values(pooled()[2].fitted_params))
    driving = (named.keys["parameter"] == "transition_weight").to_numpy()
    assert driving.sum() == 2
    for part, expected in zip(hyper, (0.0, 1.5, 1.5), strict=True):
        np.testing.assert_array_equal(part[driving], expected)


def test_the_slope_of_the_log_joint_is_zero_at_every_subjects_mode():
    prior = learned().level(2).prior
    mean, sd = prior.flat()
    for name, (_, trials, _) in zip(designs(), cohort(), strict=True):
        params = shrunken()[name][2].fitted_params
        log, matrix = np.log(params.initial_probs), params.transition_matrix
        odds = np.log([matrix[0, 1] / matrix[0, 0], matrix[1, 0] / matrix[1, 1]])
        chain = np.concatenate([odds[:, None, None], params.transition_weights], 2)
        theta = np.concatenate([log, chain.ravel(), params.emission_weights.ravel()])
        slope = gradient(lambda x, p=params, t=trials: log_likelihood(params_at(x, p), t), theta)
        off = theta - mean
        off[:2] -= log[prior.reference]
        free = np.arange(len(theta)) != prior.reference
        np.testing.assert_allclose((slope - off / sd**2)[free], 0, atol=2e-3, err_msg=name)


def test_few_sessions_are_predicted_better_than_from_the_warm_start_alone():
    own = fit_subjects(designs(), [2], SETTINGS, population={s: pooled() for s in designs()})
    gains = []
    for name, (_, _, unseen) in zip(designs(), cohort(), strict=True):
        ours, theirs = (
            log_likelihood(fits[name][2].fitted_params, unseen) for fits in (shrunken(), own)
        )
        gains.append((ours - theirs) / len(unseen.y))
    assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(SUBJECTS) > 0


def test_regressors_of_what_comes_later_change_no_forecast():
    past = learned().forecasts[0].sessions["s0"]
    changed = {
        name: replace(design, U=design.U + ~np.isin(design.session_ids, past)[:, None])
        for name, design in designs().items()
    }
    other = fit_hierarchy(changed, pooled(), [2], 1)
    prior = other.forecasts[0].level(2).prior
    for name, value in vars(learned().forecasts[0].level(2).prior).items():
        np.testing.assert_array_equal(getattr(prior, name), value)
    assert not np.array_equal(other.level(2).prior.chain_mean, learned().level(2).prior.chain_mean)
    one, two = forecast_shrunken(shrunken(), learned()), forecast_shrunken(shrunken(), other)
    assert one["s0"][2].cv_metrics == two["s0"][2].cv_metrics
    assert one["s0"][2].cv_metrics[0].fitted_params.transition_weights.any()


def test_its_file_keeps_it(tmp_path):
    save_hierarchy(tmp_path / "hierarchy.npz", learned())
    again = load_hierarchy(tmp_path / "hierarchy.npz")
    center = again.level(2).prior.center()
    expected = learned().level(2).prior.chain_mean[:, :, 1:]
    np.testing.assert_array_equal(center.transition_weights, expected)
    assert again.level(2).specification.transition_names == ("u0",)


def test_a_frozen_transition_weight_has_no_spread_and_keeps_its_value():
    """In the pooled fit, the population and the subjects; the others' are learned."""
    held = FrozenWeight(0, "u0", 0.25, of_transition=True)
    frozen = fit_population(designs(), [2], replace(SETTINGS, frozen=(held,)))
    known = fit_hierarchy(designs(), frozen, [2])
    prior = known.level(2).prior
    assert (prior.chain_mean[0, 0, 1], prior.chain_sd[0, 0, 1]) == (0.25, np.inf)
    assert np.isfinite(prior.chain_sd[1]).all()
    assert known.level(2).converged
    fits = fit_shrunken({"s0": designs()["s0"]}, known)["s0"]
    assert fits[2].fitted_params.transition_weights[0, 0, 0] == 0.25
    assert fits[2].fitted_params.transition_weights[1, 0, 0] != 0


def test_what_cannot_be_driven_is_named():
    one = replace(pooled(), fits=(replace(pooled()[2], num_states=1),))
    with pytest.raises(InputError, match="one state has no transitions"):
        fit_hierarchy(designs(), one, [1])
    plain = designs()["s0"].driven_by(())
    with pytest.raises(InputError, match="subject 's0': the design has no transition regressor"):
        fit_hierarchy({**designs(), "s0": plain}, pooled(), [2])
    made = fit_shrunken({"s0": plain}, learned())["s0"]
    assert "has no transition regressor 'u0'" in made.reason
