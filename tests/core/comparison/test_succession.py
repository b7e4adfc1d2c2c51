"""A refit beside the earlier fit: what is new, how it was predicted, whose states are whose."""

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from core.engine.climbs import MAX_ITERS, TWO, trials_of
from core.fitting.fitted import design_of
from core.oracles import log_likelihood

from glmhmm_core.comparison.succession import (
    compare_sessions,
    is_of_same_model,
    reason_to_hold,
    still_holds,
    succeed,
)
from glmhmm_core.fitting import FitSettings, fit_subjects
from glmhmm_core.fitting.result import OwnOptimum
from glmhmm_core.fitting.subject import Start
from glmhmm_core.states.matching import renumbered

SETTINGS = FitSettings(n_restarts=2, max_iters=MAX_ITERS, cv_folds=2)
TRIALS = trials_of(TWO)
SESSIONS = list(dict.fromkeys(TRIALS.session_ids))


def design(sessions=SESSIONS):
    return design_of(TRIALS).of_sessions(sessions)


@cache
def before():
    """Fits of all sessions but the last two."""
    return fit_subjects({"ann": design(SESSIONS[:-2])}, [1, 2], SETTINGS)["ann"]


@cache
def after():
    """Fits of all sessions, begun from the ones before."""
    return fit_subjects({"ann": design()}, [1, 2], SETTINGS, earlier={"ann": before()})["ann"]


def turned(fits):
    """With the two states in the other order."""
    return replace(fits, fits=(fits[1], renumbered(fits[2], [1, 0])))


def of(changed):
    """The fits before, as if they had been made on another design."""
    fits = tuple(
        replace(
            fit,
            X=changed.X,
            U=changed.U,
            y=changed.y,
            mask=changed.mask,
            session_ids=changed.session_ids,
        )
        for fit in before().fits
    )
    trials = changed.keys["trial"].to_numpy()
    return replace(before(), fits=fits, keys_session=changed.session_ids, keys_trial=trials)


def test_the_earlier_model_is_scored_on_exactly_the_sessions_that_it_never_saw():
    told = succeed(after(), before())
    new = TRIALS.rows(np.isin(TRIALS.session_ids, SESSIONS[-2:]))
    choices = int(new.mask.sum())
    seen = TRIALS.y[~np.isin(TRIALS.session_ids, SESSIONS[-2:])]
    counts = np.bincount(seen[seen >= 0], minlength=2) + 0.5
    base = np.log(counts / counts.sum())[new.y[new.mask]].sum()
    bits = {}
    for k in (1, 2):
        one = told[k].succession
        assert one.earlier == before().fingerprint
        assert one.new_sessions == tuple(SESSIONS[-2:])
        assert one.changed_sessions == ()
        assert one.new_choices == choices
        truth = log_likelihood(before()[k].fitted_params, new)
        assert one.log_likelihood == pytest.approx(truth, rel=1e-10)
        bits[k] = (truth - base) / np.log(2) / choices
        assert one.bits_per_trial == pytest.approx(bits[k], rel=1e-8)
        assert one.glm_bits_per_trial == pytest.approx(bits[1], rel=1e-8)
    # In sample a model is better than where it was not fitted: another score would not pass.
    assert abs(log_likelihood(after()[2].fitted_params, new) - truth) > 0.1


def test_states_keep_their_numbers_however_the_restarts_numbered_them():
    plain = succeed(after(), before())
    for order in (after(), turned(after())):
        told = succeed(order, before())
        assert not told[2].succession.ambiguous
        assert told[2].succession.match_margin > 0.25
        for name in ("initial_probs", "transition_matrix", "emission_weights"):
            one = getattr(told[2].fitted_params, name)
            np.testing.assert_array_equal(one, getattr(plain[2].fitted_params, name))
        np.testing.assert_array_equal(told[2].smoothed_state_probs, plain[2].smoothed_state_probs)
        for fold, other in zip(told[2].cv_metrics, plain[2].cv_metrics, strict=True):
            np.testing.assert_array_equal(
                fold.fitted_params.emission_weights, other.fitted_params.emission_weights
            )
    stimulus = before()[2].fitted_params.emission_weights[:, 0, 0]
    kept = plain[2].fitted_params.emission_weights[:, 0, 0]
    assert np.argmax(kept) == np.argmax(stimulus)
    # And those of turned ones are turned.
    other = succeed(after(), turned(before()))[2].fitted_params.emission_weights[:, 0, 0]
    np.testing.assert_array_equal(other, kept[::-1])


def test_corrected_removed_and_renamed_sessions_are_not_new():
    whole = design(SESSIONS[:-2])
    removed = of(whole.of_sessions(SESSIONS[:-3]))
    assert compare_sessions(removed, before()) == ((), (SESSIONS[-3],))
    y = whole.y.copy()
    first = np.flatnonzero(whole.mask)[0]
    y[first] = 1 - y[first]
    corrected = of(replace(whole, y=y))
    assert compare_sessions(corrected, before()) == ((), (SESSIONS[0],))
    other = whole.keys.with_columns(pl.col("session").replace({SESSIONS[0]: "again"}))
    assert compare_sessions(of(replace(whole, keys=other)), before()) == ((), (SESSIONS[0],))
    told = succeed(corrected, before())[2].succession
    assert (told.log_likelihood, told.bits_per_trial, told.glm_bits_per_trial) == (None,) * 3
    assert told.changed_sessions == (SESSIONS[0],)


def test_fits_hold_as_long_as_all_of_their_trials_are_there():
    assert still_holds(before(), design())
    assert not still_holds(before(), design(SESSIONS[1:]))
    whole = design()
    X = whole.X.copy()
    X[0, 0] += 1e-9
    assert not still_holds(before(), replace(whole, X=X))
    X = whole.X.copy()
    X[-1, 0] += 1.0  # in a session that they never saw
    assert still_holds(before(), replace(whole, X=X))


def test_a_model_of_other_regressors_or_choices_has_no_successor():
    assert is_of_same_model(before(), design(), SETTINGS)
    for other in (
        {"feature_names": ("other", "bias")},
        {"choice_names": ("no", "yes")},
        {"baseline_class_idx": 1},
    ):
        assert not is_of_same_model(before(), replace(design(), **other), SETTINGS)
    driven = replace(SETTINGS, transition_regressors=("lag",))
    assert not is_of_same_model(before(), design(), driven)


def test_no_fold_begins_where_its_held_out_sessions_were_seen():
    start = Start(before()[2].fitted_params, before()[2].cv_metrics)
    for fold in before()[2].cv_metrics:
        # New sessions may be held out too; those of the other fold may not.
        found = start.without({*fold.test_session_ids, "never seen"})
        assert found is fold.fitted_params
        assert start.without({*fold.test_session_ids, fold.training_session_ids[0]}) is None


def test_a_refit_is_held_unless_it_converged_and_has_the_same_states():
    fit = succeed(after(), before())[2]
    assert reason_to_hold(fit) is None
    failed = replace(fit, restart_converged=np.zeros_like(fit.restart_converged))
    assert "did not converge" in reason_to_hold(failed)
    doubtful = replace(fit.succession, ambiguous=True, reason="State 1 is odd.")
    assert reason_to_hold(replace(fit, succession=doubtful)).endswith("State 1 is odd.")
    # A first fit has nobody's states to keep.
    assert reason_to_hold(after()[2]) is None
    assert "did not converge" in reason_to_hold(replace(failed, succession=None))


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, True),
        ({"objective_gain": -1.0}, False),  # the best of its starts
        ({"state_agreement": 0.95}, False),  # the same states
        ({"heldout_gain": 0.001, "heldout_gain_se": 0.002}, False),  # held-out choices judged
        ({"chosen": True}, False),
    ],
)
def test_a_better_start_that_nothing_judged_holds_a_refit(changes, held):
    own = OwnOptimum(
        chosen=False,
        objective_gain=9.0,
        heldout_gain=None,
        heldout_gain_se=None,
        state_agreement=0.5,
    )
    fit = replace(succeed(after(), before())[2], own_optimum=replace(own, **changes))
    assert (reason_to_hold(fit) is not None) == held
    assert reason_to_hold(replace(fit, succession=None)) is None
