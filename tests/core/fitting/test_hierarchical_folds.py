"""What the folds of a hierarchical fit have seen: none of the sessions that they are scored on."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.fitting.hierarchical_cohort import (
    AHEAD,
    FIRST,
    NEXT,
    PAST,
    SETTINGS,
    cohort,
    designs,
    forecasts,
    learned,
    pooled,
    shrunken,
)
from core.oracles import log_likelihood

from glmhmm_core.fitting import Excluded, fit_population
from glmhmm_core.fitting.folds import assign_folds
from glmhmm_core.fitting.hierarchy import fit_hierarchy, hierarchy_fingerprint
from glmhmm_core.fitting.hierarchy_store import load_hierarchy, save_hierarchy
from glmhmm_core.fitting.shrinkage import fit_shrunken
from glmhmm_core.fitting.shrunken_forecasts import forecast_shrunken


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
