"""The hierarchical fit: what it learns, where its subjects end, and what it refuses."""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from core.fitting.fitted import design_of
from core.fitting.hierarchical_cohort import (
    FIRST,
    SETTINGS,
    cohort,
    designs,
    learned,
    pooled,
    shrunken,
)
from core.oracles import gradient, log_likelihood, params_at
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from glmhmm_core.errors import InputError
from glmhmm_core.fitting import Excluded, fit_population, fit_subjects
from glmhmm_core.fitting.empirical_bayes import TOLERANCE
from glmhmm_core.fitting.hierarchy import fit_hierarchy
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.shrinkage import fit_shrunken
from glmhmm_core.fitting.store import listed, load_fits, save_fits
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.states.matching import reorder
from glmhmm_core.tables.hierarchy import shrinkage_table


def ordered(values):
    """States of the fits in the order of the truth, which is by stimulus weight."""
    return values[np.argsort(-pooled()[2].fitted_params.emission_weights[:, 0, 0])]


@pytest.mark.slow
def test_many_trials_of_one_state_give_the_random_effects_of_separate_regressions():
    """Weights of separate logistic regressions, normal around their subject's, normal over them."""
    trials, _ = cohort(10, 10, 100, 1)
    given = {name: design_of(t, name) for name, t in trials.items()}
    settings = replace(SETTINGS, cv_folds=0)
    prior = fit_hierarchy(given, fit_population(given, [1], settings), [1]).level(1).prior
    assert PopulationPrior.read(listed(asdict(prior))).chain_mean.shape == prior.chain_mean.shape

    estimates, covariance = [], []
    for one in trials.values():
        X, y = one.X[one.mask], one.y[one.mask]
        w = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(X, y).coef_[0]
        p = 1 / (1 + np.exp(-X @ w))
        estimates.append(w)
        covariance.append(np.linalg.inv((X * (p * (1 - p))[:, None]).T @ X))
    whole, points = np.array(covariance), np.array(estimates)

    def loss(x):
        mean, sd = x[:2], np.exp(x[2:])
        variance, off = whole + np.diag(sd**2), points - mean
        square = np.einsum("np,npq,nq->n", off, np.linalg.inv(variance), off)
        value = -0.5 * (square + np.linalg.slogdet(variance)[1]).sum()
        return -(value + (np.log(sd) - sd / 3 - mean**2 / 18).sum())

    best = optimize.minimize(
        loss, np.zeros(4), method="Nelder-Mead", options={"maxiter": 4000, "maxfev": 4000}
    ).x
    np.testing.assert_allclose(prior.weight_mean[0, 0], best[:2], atol=0.02)
    np.testing.assert_allclose(prior.weight_sd[0, 0], np.exp(best[2:]), rtol=0.03)


def test_mean_and_spread_are_those_of_the_subjects_truth():
    level, (_, true) = learned().level(2), cohort()
    mean, sd = ordered(level.prior.weight_mean[:, 0]), ordered(level.prior.weight_sd[:, 0])
    drawn = true.std(0, ddof=1)
    np.testing.assert_allclose(mean, true.mean(0), atol=2.5 * drawn.max() / np.sqrt(len(true)))
    assert np.all((sd > drawn / 2) & (sd < drawn * 2))


def test_it_converges_upwards_and_says_so():
    for levels in (learned().levels, *(fold.levels for fold in learned().folds)):
        (level,) = levels
        assert level.converged
        assert np.all(np.diff(level.log_marginal) > -TOLERANCE * len(designs()))
        assert abs(np.diff(level.log_marginal)[-1]) < TOLERANCE * len(designs())


def test_shrinking_brings_subjects_nearer_to_their_truth():
    own = fit_subjects(designs(), [2], replace(SETTINGS, cv_folds=0), population=pooled())

    def error(fits):
        found = [ordered(fits[s][2].fitted_params.emission_weights[:, 0]) for s in designs()]
        return np.sqrt(((np.array(found) - cohort()[1]) ** 2).mean())

    assert error(shrunken()) < 0.9 * error(own)


def likelihood_at(theta, like, trials):
    return log_likelihood(params_at(theta, like), trials)


def test_the_slope_of_the_log_joint_is_zero_at_every_subjects_mode():
    prior = learned().level(2).prior
    mean, sd = prior.flat()
    for name, trials in cohort()[0].items():
        params = shrunken()[name][2].fitted_params
        log = np.log(params.initial_probs)
        odds = [
            np.log(params.transition_matrix[i, j] / params.transition_matrix[i, i])
            for i, j in ((0, 1), (1, 0))
        ]
        theta = np.concatenate([log, odds, params.emission_weights.ravel()])
        slope = gradient(partial(likelihood_at, like=params, trials=trials), theta)
        off = theta - mean
        off[:2] -= log[prior.reference]
        pull = -off / sd**2
        free = np.arange(len(theta)) != prior.reference
        np.testing.assert_allclose((slope + pull)[free], 0, atol=1e-3, err_msg=name)


def test_a_shrunken_fit_keeps_its_priors_in_its_file(tmp_path):
    fits = shrunken()["s1"]
    save_fits(tmp_path / "fits.npz", fits)
    again = load_fits(tmp_path / "fits.npz")[2]
    for name, value in vars(learned().level(2).prior).items():
        np.testing.assert_array_equal(getattr(again.specification.population, name), value)
    # Its errors are those under the learned priors: no wider than the population's spread.
    known = standard_errors(again, again.specification.population.reference)
    assert known.off_optimum < 0.01
    _, sd = again.specification.population.flat()
    assert np.all(
        known.table["se"].to_numpy() <= np.delete(sd, known.table["target_idx"][0]) + 1e-9
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("chain_mean", lambda chain: chain[:, :, 0]),  # as before weights stood beside log-odds
        ("chain_sd", lambda chain: chain[:, :, 0]),
        ("weight_mean", lambda weights: weights[:1]),
        ("weight_sd", lambda weights: weights[:, 0]),
        ("initial_sd", lambda odds: odds[:1]),
    ],
)
def test_priors_of_another_shape_are_not_read(name, wrong, tmp_path):
    """They would broadcast to other numbers in silence."""
    prior = learned().level(2).prior
    other = replace(prior, **{name: wrong(getattr(prior, name))})
    fits = shrunken()["s1"]
    told = replace(fits[2].specification, population=other)
    save_fits(tmp_path / "fits.npz", replace(fits, fits=(replace(fits[2], specification=told),)))
    with pytest.raises(InputError, match=f"population's {name[:5]}.* not those of 2 states"):
        load_fits(tmp_path / "fits.npz")


def test_own_estimates_are_of_the_same_state_or_of_none():
    """Ordinary fits that are the shrunken ones, their states numbered otherwise or all alike."""

    def beside(order):
        fits = shrunken()["s0"]
        params = reorder(fits[2].fitted_params, order)
        ordinary = replace(fits, fits=(replace(fits[2], fitted_params=params),))
        return shrinkage_table(learned(), [fits], {"s0": ordinary})

    turned = beside([1, 0])
    free = turned.filter(pl.col("parameter") != "initial")
    np.testing.assert_allclose(free["own_estimate"], free["estimate"], rtol=1e-12)
    assert len(free) > 4
    assert beside([0, 0])["own_estimate"].null_count() == len(turned)
    names = turned.select("class_idx", "class_name", "baseline_class_name").unique()
    assert set(names.rows()) == {(None, None, None), (1, *reversed(designs()["s0"].choice_names))}


def test_a_single_subject_has_the_ordinary_priors_and_a_note():
    one = {"s0": designs()["s0"]}
    own = fit_subjects(one, [2], SETTINGS)["s0"]
    alone = fit_hierarchy(one, own, [2])
    assert alone.level(2).prior is None
    assert "single subject has no population" in alone.notes[0]
    fits = fit_shrunken(one, alone)["s0"]
    assert fits.notes == alone.notes
    assert fits[2].objective_log_probability == pytest.approx(own[2].objective_log_probability)
    # Ordinary priors have seen nothing, whatever becomes of the sessions.
    fewer = fit_shrunken({"s0": one["s0"].of_sessions(FIRST[1:])}, alone)["s0"]
    assert (len(fewer[2].cv_metrics), fewer.notes) == (2, alone.notes)


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("feature_names", ("bias", "stimulus")),
        ("choice_names", ("right", "left")),
        ("baseline_class_idx", 1),
    ],
)
def test_a_subject_of_another_design_than_the_pooled_fits_is_refused(what, other):
    """Its arrays have the shapes of all others: only names tell."""
    odd = replace(designs()["s3"], **{what: other})
    with pytest.raises(InputError, match=r"subject 's3', hierarchical fit: .* the pooled fit"):
        fit_hierarchy({**designs(), "s3": odd}, pooled(), [2])
    # And not only one that differs from the others.
    everyone = {name: replace(design, **{what: other}) for name, design in designs().items()}
    with pytest.raises(InputError, match="subject 's0', hierarchical fit: "):
        fit_hierarchy(everyone, pooled(), [2])


def test_what_cannot_be_fitted_is_refused_or_named():
    with pytest.raises(InputError, match=r"no model of \[3\] states"):
        fit_hierarchy(designs(), pooled(), [2, 3])
    other = replace(designs()["s0"], feature_names=("stimulus", "other"))
    short = replace(designs()["s1"], mask=designs()["s1"].session_ids == "s0")
    made = fit_shrunken({"s0": other, "s1": short}, learned())
    assert isinstance(made["s0"], Excluded)
    assert "its regressors are not the population's: " in made["s0"].reason
    assert "stimulus, other instead of " in made["s0"].reason
    assert made["s0"].reason.endswith("or make the hierarchical fit again.")
    assert made["s1"][2].cv_metrics == ()
    assert "2 folds for 1 sessions" in made["s1"].notes[-1]
