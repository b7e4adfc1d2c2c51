"""Sessions of several kinds: exact against enumeration of the kinds, and found where they are."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from core.oracles import Trials, by_recursion
from scipy.special import logsumexp

from glmhmm_core.baselines.result import SubjectBaselines
from glmhmm_core.baselines.session_kinds import (
    fingerprint,
    fit_session_kinds,
    gain_over,
    posteriors_of,
)
from glmhmm_core.baselines.store import load_baselines, save_baselines
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.session_kinds import SessionKinds, as_one_chain, kinds_prior, log_prior
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.fit import fit_glmhmm
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import SubjectFits
from glmhmm_core.simulation.simulate import simulate
from glmhmm_core.tables.session_kinds import session_table

CALM, WILD = 0.99, 0.6
TRUTH = SessionKinds(
    np.array([0.6, 0.4]),
    np.array([[0.9, 0.1], [0.4, 0.6]]),
    np.array([[[s, 1 - s], [1 - s, s]] for s in (CALM, WILD)]),
    np.array([[[4.0, 0.0]], [[0.5, 2.0]]]),
)


@cache
def plain(sessions=40, trials=50):
    """A plain fit to sessions of two kinds, and the true kind of each."""
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(sessions), trials)
    X = np.column_stack([rng.normal(size=len(ids)), np.ones(len(ids))])
    made = simulate(jax.tree.map(np.asarray, as_one_chain(TRUTH)), X, ids, history={}, seed=2)
    mask = rng.random(len(ids)) > 0.03
    fit = fit_glmhmm(
        *(made.y, X, ids),
        **{"num_states": 2, "num_classes": 2, "mask": mask, "n_restarts": 2, "cv_folds": 2},
    )
    return fit, made.states[::trials] // 2


@cache
def kinds():
    return fit_session_kinds(plain()[0], n_starts=2)


def by_kind(params, fit):
    """Log-likelihood of every session in each kind, by the textbook's recursion: (G, S)."""
    rows = []
    for initial, matrix in zip(params.initial_probs, params.transition_matrix, strict=True):
        one = Parameters(initial, matrix, params.emission_weights)
        of_sessions = []
        for session in np.unique(fit.session_ids):
            at = fit.session_ids == session
            trials = Trials(
                *(fit.X[at], fit.U[at], fit.y[at], fit.session_ids[at]),
                *(fit.num_classes, fit.baseline_class_idx),
            )
            of_sessions.append(by_recursion(one, trials).log_likelihood)
        rows.append(of_sessions)
    return np.array(rows, np.float64)


def test_the_likelihood_is_the_sum_over_the_kinds_of_each_session():
    fit, _ = plain()
    joint = np.log(TRUTH.shares)[:, None] + by_kind(TRUTH, fit)
    problem = problem_of(fit)
    said = posteriors_of(problem, TRUTH)
    sums = np.bincount(problem.session_index, said.log_likelihood)
    np.testing.assert_allclose(sums, logsumexp(joint, axis=0), rtol=1e-10)
    made = np.where(fit.mask, fit.choice_probs[np.arange(len(fit.y)), np.maximum(fit.y, 0)], 1)
    ahead = said.choice_probs[np.arange(len(fit.y)), np.maximum(fit.y, 0)]
    assert np.log(np.where(fit.mask, ahead, 1)).sum() == pytest.approx(sums.sum())
    assert not np.allclose(made, ahead)
    np.testing.assert_allclose(said.smoothed.sum(1), 1)
    table = session_table("mouse", fit, replace(kinds(), fitted_params=TRUTH))
    expected = np.exp(joint - logsumexp(joint, axis=0))
    np.testing.assert_allclose(table.select("p_kind_0", "p_kind_1").to_numpy().T, expected)


def test_the_fit_is_a_mode_of_likelihood_and_prior():
    """No small change of any parameter gains, and the objective is what it says."""
    fit, _ = plain()
    problem, end = problem_of(fit), kinds().fitted_params
    chain = (np.asarray(fit.fitted_params.initial_probs), fit.fitted_params.transition_matrix)
    prior = kinds_prior(fit.specification.prior(2, fit.settings), *chain, 2.0, 20.0)
    free = np.ones(end.emission_weights.shape)

    def objective(params):
        return posteriors_of(problem, params).log_likelihood.sum() + float(
            log_prior(params, prior, free)
        )

    best = objective(end)
    assert best == pytest.approx(kinds().objective_log_probability)
    rng = np.random.default_rng(0)
    for step in (1e-2, 1e-3):
        for _ in range(12):
            moved = SessionKinds(*(a * np.exp(step * rng.normal(size=a.shape)) for a in end))
            laws = [a / a.sum(-1, keepdims=True) for a in moved[:3]]
            assert objective(SessionKinds(*laws, moved.emission_weights)) <= best + 1e-4 * step


def test_kinds_that_are_there_are_found_and_predict_held_out_sessions():
    fit, truth = plain()
    found = kinds()
    assert found.converged
    stay = np.diagonal(found.fitted_params.transition_matrix, axis1=1, axis2=2).mean(1)
    calm = int(stay.argmax())
    assert stay.max() - stay.min() > 0.1
    table = session_table("mouse", fit, found)
    decoded = table[f"p_kind_{calm}"].to_numpy() > 0.5
    assert (decoded == (truth == 0)).mean() > 0.85
    gain, _ = gain_over(fit, found)
    assert gain > 0
    choices = fit.mask.sum()
    assert table["heldout_gain"].sum() / choices / np.log(2) == pytest.approx(gain, rel=1e-6)
    held = [fold.test_session_ids for fold in found.cv_metrics]
    assert held == [fold.test_session_ids for fold in fit.cv_metrics]


def test_held_out_choices_change_no_parameter_of_their_fold():
    fit, _ = plain()
    fold = fit.cv_metrics[0]
    at = np.isin(fit.session_ids.astype(str), fold.test_session_ids) & fit.mask
    # They did change the plain fit to all sessions.
    moved = fit.fitted_params._replace(
        transition_matrix=np.array([[0.7, 0.3], [0.3, 0.7]]),
        emission_weights=fit.fitted_params.emission_weights + 0.3,
    )
    flipped = np.where(at, 1 - fit.y, fit.y)
    other = replace(fit, y=flipped, fitted_params=moved, cv_metrics=(fold,))
    again = fit_session_kinds(other, n_starts=2).cv_metrics[0]
    jax.tree.map(
        np.testing.assert_array_equal, again.fitted_params, kinds().cv_metrics[0].fitted_params
    )
    assert again.test_log_likelihood != kinds().cv_metrics[0].test_log_likelihood


def test_forecasts_are_of_the_past_alone():
    """What comes after a fold's past changes no parameter of it, and all of its score."""
    fit, _ = plain()
    names = np.unique(fit.session_ids).astype(str).tolist()
    ahead = tuple(
        replace(
            fold,
            fold_index=i,
            training_session_ids=tuple(names[: 20 + 10 * i]),
            test_session_ids=tuple(names[20 + 10 * i : 30 + 10 * i]),
        )
        for i, fold in enumerate(fit.cv_metrics)
    )
    bare = replace(fit, cv_metrics=())
    found = fit_session_kinds(bare, n_starts=1, prospective=ahead)
    assert found.cv_metrics == ()
    seen = np.isin(fit.session_ids.astype(str), names[:20])
    future = replace(bare, y=np.where(fit.mask & ~seen, 1 - fit.y, fit.y))
    again = fit_session_kinds(future, n_starts=1, prospective=ahead[:1]).prospective[0]
    first = found.prospective[0]
    jax.tree.map(np.testing.assert_array_equal, again.fitted_params, first.fitted_params)
    assert again.test_log_likelihood < first.test_log_likelihood
    for mine, theirs in zip(found.prospective, ahead, strict=True):
        assert mine.training_session_ids == theirs.training_session_ids
        assert mine.test_session_ids == theirs.test_session_ids
        said = posteriors_of(problem_of(fit), mine.fitted_params).log_likelihood
        trials = np.isin(fit.session_ids.astype(str), mine.test_session_ids)
        assert mine.test_log_likelihood == pytest.approx(said[trials].sum())


def test_one_state_or_kind_has_nothing_to_vary():
    fit, _ = plain()
    with pytest.raises(InputError, match="kinds"):
        fit_session_kinds(fit, 1)
    with pytest.raises(InputError, match="states"):
        fit_session_kinds(replace(fit, num_states=1))


def test_a_file_holds_all_of_it_and_a_table_counts_switches(tmp_path):
    fit, _ = plain()
    made = SubjectBaselines("mouse", fingerprint=f"{0:064}", fits=(kinds(),))
    save_baselines(tmp_path / "mouse.npz", made)
    (again,) = load_baselines(tmp_path / "mouse.npz").fits
    for name in SessionKinds._fields:
        kept, given = (getattr(one.fitted_params, name) for one in (again, kinds()))
        np.testing.assert_array_equal(kept, given)
        for mine, theirs in zip(again.cv_metrics, kinds().cv_metrics, strict=True):
            kept, given = (getattr(one.fitted_params, name) for one in (mine, theirs))
            np.testing.assert_array_equal(kept, given)
    assert again.cv_metrics == kinds().cv_metrics
    assert (again.num_states, again.model) == (2, "glmhmm_sessions")
    table = session_table("mouse", fit, again)
    path = posteriors_of(problem_of(fit), again.fitted_params).smoothed.argmax(1)
    first = path[fit.session_ids == fit.session_ids[0]]
    assert table["num_switches"][0] == (np.diff(first) != 0).sum()
    within = np.diff(path) * (np.diff(fit.session_ids) == 0)
    assert table["num_switches"].sum() == (within != 0).sum() > 0


def test_a_fingerprint_moves_with_fits_and_settings():
    fits = SubjectFits("mouse", "f", ("left", "right"), np.empty(0), np.empty(0), ())
    told = [
        fingerprint(fits, 2, 3, n_starts=2, seed=0),
        fingerprint(replace(fits, fingerprint="g"), 2, 3, n_starts=2, seed=0),
        fingerprint(fits, 3, 3, n_starts=2, seed=0),
        fingerprint(fits, 2, 0, n_starts=2, seed=0),
        fingerprint(fits, 2, 3, n_starts=2, seed=1),
    ]
    assert len(set(told)) == 5
    assert fingerprint(fits, 2, 3, seed=0, n_starts=2) == told[0]
