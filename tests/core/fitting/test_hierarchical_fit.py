"""The hierarchical fit: what it learns, where its subjects end, and what its folds have seen."""

from dataclasses import asdict, replace
from functools import cache, partial

import numpy as np
import polars as pl
import pytest
from core.engine.climbs import MAX_ITERS
from core.fitting.fitted import design_of
from core.oracles import gradient, log_likelihood, params_at, simulate
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import Excluded, FitSettings, fit_population, fit_subjects
from glmhmm_core.fitting.empirical_bayes import TOLERANCE
from glmhmm_core.fitting.folds import assign_folds
from glmhmm_core.fitting.hierarchy import fit_hierarchy, hierarchy_fingerprint
from glmhmm_core.fitting.hierarchy_store import load_hierarchy, save_hierarchy
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.shrinkage import fit_shrunken
from glmhmm_core.fitting.shrunken_forecasts import forecast_shrunken
from glmhmm_core.fitting.store import listed, load_fits, save_fits
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.states.matching import reorder
from glmhmm_core.tables.hierarchy import shrinkage_table

SETTINGS = FitSettings(emission_prior_scale=3.0, n_restarts=2, max_iters=MAX_ITERS, cv_folds=2)
MEAN = np.array([[4.0, 0.2], [0.5, -1.5]])
SD = np.array([[1.2, 0.4], [0.4, 0.8]])
#: All of a subject's ten sessions but the last.
FIRST = [f"s{i}" for i in range(9)]
#: In the first of so many prospective folds: trained on, and scored.
AHEAD, PAST, NEXT = 2, ("s0", "s1", "s2", "s3", "s4"), ("s5", "s6")


@cache
def cohort(subjects=8, sessions=10, length=40, states=2):
    """Trials of subjects drawn from a population, and the weights that made them."""
    rng = np.random.default_rng(0)
    trials, weights = {}, []
    for i in range(subjects):
        own = MEAN[:states] + SD[:states] * rng.normal(size=(states, 2))
        stay = 1 / (1 + np.exp(-rng.normal(2.5, 0.5, states)))
        matrix = (
            np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
            if states > 1
            else np.ones((1, 1))
        )
        params = Parameters(np.full(states, 1 / states), matrix, own[:, None])
        trials[f"s{i}"] = simulate(rng, params, (length,) * sessions)[0]
        weights.append(own)
    return trials, np.array(weights)


@cache
def designs():
    return {name: design_of(trials, name) for name, trials in cohort()[0].items()}


@cache
def pooled():
    return fit_population(designs(), [2], SETTINGS)


@cache
def learned():
    return fit_hierarchy(designs(), pooled(), [2], AHEAD)


@cache
def shrunken():
    return fit_shrunken(designs(), learned())


@cache
def forecasts():
    return forecast_shrunken(shrunken(), learned())


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


def test_a_fold_has_not_seen_its_sessions_and_order_is_nothing():
    fold = designs()["s0"]
    held_out = set(shrunken()["s0"][2].cv_metrics[0].test_session_ids)
    rows = np.isin(fold.session_ids, list(held_out))
    changed = {**designs(), "s0": replace(fold, y=np.where(rows & fold.mask, 1 - fold.y, fold.y))}
    turned = dict(reversed(changed.items()))
    other = fit_hierarchy(turned, pooled(), [2])
    for name in ("weight_mean", "weight_sd", "chain_mean", "initial_mean"):
        one, two = (getattr(h.level(2, 0).prior, name) for h in (learned(), other))
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(
            getattr(learned().level(2).prior, name), getattr(other.level(2).prior, name)
        )
    assert other.fingerprint != learned().fingerprint
    # Nor has the fit of a subject under the fold's priors: those of all sessions differ.
    again = fit_shrunken({"s0": changed["s0"]}, other)["s0"][2].cv_metrics[0]
    before = shrunken()["s0"][2].cv_metrics[0]
    for one, two in zip(again.fitted_params[:3], before.fitted_params[:3], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9)


def test_held_out_sessions_are_those_of_the_other_fits():
    for name, fits in shrunken().items():
        assert fits.population == learned().fingerprint
        for mine, theirs in zip(fits[2].cv_metrics, pooled()[2].cv_metrics, strict=True):
            assert {f"{name}/{s}" for s in mine.test_session_ids} <= set(theirs.test_session_ids)


def named(design, sessions):
    """A design whose sessions are called so, in order of their coming."""
    call = dict(zip(dict.fromkeys(design.session_ids.tolist()), sessions, strict=True))
    return replace(design, keys=design.keys.with_columns(pl.col("session").replace_strict(call)))


@pytest.mark.parametrize("sessions", [FIRST[1:], ["late", *FIRST]], ids=["one gone", "one before"])
def test_no_fold_is_scored_on_sessions_that_its_population_saw(sessions):
    """A session that is gone, or comes in before the others, deals folds anew."""
    rows = [*FIRST, "s9"][: len(sessions)]
    given = named(designs()["s0"].of_sessions(rows), sessions)
    dealt = assign_folds(len(sessions), 2, SETTINGS.seed)
    for fold in range(2):
        held_out = {s for s, f in zip(sessions, dealt, strict=True) if f == fold}
        assert held_out & set(learned().folds[fold].sessions["s0"])
    made = fit_shrunken({"s0": given}, learned())["s0"]
    assert made[2].cv_metrics == ()
    (note,) = made.notes
    assert note.startswith("subject 's0', folds: the population of fold 0 was learned from s")
    assert "which the fold does not train on" in note
    assert note.endswith("promote it (glmhmm promote); else make the hierarchical fit again.")


def test_folds_are_scored_under_priors_of_other_sessions_where_one_came_last():
    """Or of a subject that the population does not know at all."""
    known, (s0, s1) = learned(), (designs()[s] for s in ("s0", "s1"))
    for i, fold in enumerate(known.folds):
        for name, seen in fold.sessions.items():
            assert seen == shrunken()[name][2].cv_metrics[i].training_session_ids
    new = named(s1, [f"n{i}" for i in range(10)])
    made = fit_shrunken({"s0": s0.of_sessions(FIRST), "new": replace(new, subject="new")}, known)
    for name, fits in made.items():
        assert fits.notes == ()
        assert len(fits[2].cv_metrics) == 2
        for fold, population in zip(fits[2].cv_metrics, known.folds, strict=True):
            assert not {*fold.test_session_ids} & {*population.sessions.get(name, ())}


def test_what_the_pooled_start_of_a_fold_was_fitted_to_is_seen_too():
    """Where the pooled fit is older than the sessions, and its folds are others."""
    fit = pooled()[2]
    older = [replace(fold, training_session_ids=("s0/old", "s1/s3")) for fold in fit.cv_metrics]
    told = replace(pooled(), fits=(replace(fit, cv_metrics=tuple(older)),))
    two = {s: designs()[s] for s in ("s0", "s1")}
    for now, before in zip(fit_hierarchy(two, told, [2]).folds, learned().folds, strict=True):
        assert now.sessions["s0"] == (*before.sessions["s0"], "old")
        assert {*now.sessions["s1"]} == {*before.sessions["s1"], "s3"}


def test_a_forecast_is_what_would_have_been_learned_when_the_future_had_not_come():
    past = {
        name: replace(design, mask=design.mask & np.isin(design.session_ids, PAST))
        for name, design in designs().items()
    }
    then = fit_population(past, [2], replace(SETTINGS, cv_folds=0))
    known = fit_hierarchy(past, then, [2])
    ours, theirs = learned().forecasts[0].level(2).prior, known.level(2).prior
    # Numbers of states are those of the pooled fit of each.
    order = [np.argsort(-prior.weight_mean[:, 0, 0]) for prior in (ours, theirs)]
    for name in ("weight_mean", "weight_sd", "chain_mean", "chain_sd"):
        one, two = getattr(ours, name)[order[0]], getattr(theirs, name)[order[1]]
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3, err_msg=name)
    fits = fit_shrunken(past, known)
    for name, trials in cohort()[0].items():
        fold, params = forecasts()[name][2].cv_metrics[0], fits[name][2].fitted_params
        assert (fold.training_session_ids, fold.test_session_ids) == (PAST, NEXT)
        expected = [log_likelihood(params, trials.rows(trials.session_ids == s)) for s in NEXT]
        np.testing.assert_allclose(fold.test_session_log_likelihoods, expected, atol=0.01)


def test_sessions_that_are_forecast_or_come_later_change_no_forecast():
    """Neither themselves nor through the pooled fit, which knows them."""
    changed = {}
    for name, design in designs().items():
        later = ~np.isin(design.session_ids, PAST)
        y = np.where(later & design.mask, 1 - design.y, design.y)
        changed[name] = replace(design, y=y, X=design.X + later[:, None])
    fit = pooled()[2]
    moved = fit.fitted_params._replace(emission_weights=fit.fitted_params.emission_weights + 1.0)
    told = replace(pooled(), fits=(replace(fit, fitted_params=moved),))
    other = fit_hierarchy(changed, told, [2], AHEAD)
    for name, value in vars(learned().forecasts[0].level(2).prior).items():
        np.testing.assert_array_equal(getattr(other.forecasts[0].level(2).prior, name), value)
    last = [h.forecasts[1].level(2).prior.weight_mean for h in (learned(), other)]
    assert not np.array_equal(*last)
    again = forecast_shrunken(fit_shrunken(changed, other), other)
    for name, fits in forecasts().items():
        one, two = fits[2].cv_metrics[0], again[name][2].cv_metrics[0]
        for part in ("initial_probs", "transition_matrix", "emission_weights"):
            params = (getattr(fold.fitted_params, part) for fold in (one, two))
            np.testing.assert_array_equal(*params)
        assert one.test_session_log_likelihoods != two.test_session_log_likelihoods
        assert fits[2].raw_log_likelihood == shrunken()[name][2].raw_log_likelihood


def test_a_pooled_start_of_a_forecast_is_not_scored_on_the_future(monkeypatch):
    def refuse(*_):
        pytest.fail("the sessions ahead were looked at")

    monkeypatch.setattr("glmhmm_core.fitting.prospective.score_fold", refuse)
    two = {s: designs()[s] for s in ("s0", "s1")}
    fits = replace(pooled(), fits=(replace(pooled()[2], settings=replace(SETTINGS, cv_folds=0)),))
    assert len(fit_hierarchy(two, fits, [2], AHEAD).forecasts) == AHEAD


def test_who_has_too_few_sessions_for_a_forecast_takes_no_part():
    """A subject that was not learned from is forecast all the same."""
    nine = designs()["s0"].of_sessions([f"s{i}" for i in range(9)])
    fits = replace(pooled(), fits=(replace(pooled()[2], settings=replace(SETTINGS, cv_folds=0)),))
    known = fit_hierarchy({**designs(), "s0": nine}, fits, [2], 5)
    others = designs().keys() - {"s0"}
    assert [forecast.sessions.keys() for forecast in known.forecasts] == [others] * 5
    (note,) = known.notes
    assert "s0 (5 prospective folds need 10 sessions, there are 9)" in note
    given = {"s0": nine, "new": replace(designs()["s1"], subject="new")}
    made = forecast_shrunken(fit_shrunken(given, known), known)
    reason = "subject 's0', prospective folds: 5 prospective folds need 10 sessions, there are 9"
    assert made["s0"].reason.startswith(reason)
    assert len(made["new"][2].cv_metrics) == 5
    two = fit_hierarchy({"s0": nine, "s1": designs()["s1"]}, fits, [2], 5)
    assert two.forecasts == ()
    assert "s0 (5 prospective folds need 10" in two.notes[0]
    assert "No population was learned for prospective folds" in two.notes[1]
    (none,) = forecast_shrunken({"s1": shrunken()["s1"]}, two).values()
    assert none.reason.startswith("subject 's1', prospective folds under learned priors: no popu")
    assert "takes two subjects with sessions enough. Make the hierarchical fit again" in none.reason


def test_no_fold_forecasts_what_its_population_saw():
    """With fewer sessions than it was learned from, a fold begins earlier."""
    fits = shrunken()["s0"]
    fit = fits[2]
    rows = ~np.isin(fit.session_ids, ["s8", "s9"])
    arrays = {name: getattr(fit, name)[rows] for name in ("X", "U", "y", "mask", "session_ids")}
    fewer = replace(fits, fits=(replace(fit, **arrays),))
    made = forecast_shrunken({"s0": fewer}, learned())["s0"]
    assert isinstance(made, Excluded)
    assert made.reason.startswith("subject 's0', prospective folds under learned priors: ")
    assert "fold 0 was learned from s4, which the fold does not train on" in made.reason
    # So it is where the fit that stands is older than the population: of all sessions it serves.
    assert "a refit that is held for review, promote it (glmhmm promote)" in made.reason
    assert len(forecasts()["s0"][2].cv_metrics) == AHEAD


def test_a_hierarchy_keeps_its_folds_in_its_file(tmp_path):
    save_hierarchy(tmp_path / "hierarchy.npz", learned())
    again = load_hierarchy(tmp_path / "hierarchy.npz")
    folds = (*learned().folds, *learned().forecasts)
    for ours, theirs in zip(folds, (*again.folds, *again.forecasts), strict=True):
        assert ours.sessions == theirs.sessions
        for name, value in vars(ours.level(2).prior).items():
            np.testing.assert_array_equal(getattr(theirs.level(2).prior, name), value)
    assert learned().fingerprint != hierarchy_fingerprint(designs(), pooled(), [2], AHEAD + 1)


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
