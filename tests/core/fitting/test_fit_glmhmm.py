"""``fit_glmhmm``: what it returns is what its parameters say, in the order of the caller."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, GLM, TWO, driven_priors, never_falls, trials_of
from core.fitting.fitted import DEFAULT, NAMES, RESTARTS, driven, fit, two
from core.oracles import best_paths, by_recursion, class_probs
from core.textbook_em import objective
from sklearn.linear_model import LogisticRegression

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import fit_glmhmm
from glmhmm_core.fitting.decode import most_likely_states

FITS = {"two": (TWO, two), "driven": (DRIVEN, driven)}


@pytest.mark.parametrize(("case", "fitted"), FITS.values(), ids=FITS)
def test_every_output_is_what_the_parameters_say(case, fitted):
    trials, result = trials_of(case), fitted()
    truth = by_recursion(result.fitted_params, trials)
    exact = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(result.smoothed_state_probs, truth.smoothed, **exact)
    np.testing.assert_allclose(result.predictive_state_probs, truth.predicted, **exact)
    law = np.einsum("tk,tkc->tc", truth.predicted, class_probs(result.fitted_params, trials))
    np.testing.assert_allclose(result.choice_probs, law, **exact)
    assert result.raw_log_likelihood == pytest.approx(truth.log_likelihood, rel=1e-12)
    chosen = law[np.arange(len(law)), np.maximum(trials.y, 0)][trials.mask]
    assert np.log(chosen).sum() == pytest.approx(result.raw_log_likelihood, rel=1e-12)
    made = trials.mask.sum()
    assert result.num_choices == made
    assert result.log_likelihood_per_trial == pytest.approx(truth.log_likelihood / made)
    assert result.accuracy == (law.argmax(1) == trials.y)[trials.mask].mean()
    assert result.cv_metrics == ()


@pytest.mark.parametrize(("case", "fitted"), FITS.values(), ids=FITS)
def test_objective_is_that_of_the_returned_parameters(case, fitted):
    trials, result = trials_of(case), fitted()
    priors = driven_priors(DEFAULT) if case[2] else DEFAULT
    truth = objective(result.fitted_params, trials, priors)
    assert result.objective_log_probability == pytest.approx(truth, rel=1e-12)
    assert result.converged


@pytest.mark.parametrize("fitted", [two, driven])
def test_every_restart_is_returned_with_its_climb(fitted):
    result = fitted()
    assert result.restart_log_probability.shape[0] == RESTARTS
    for i, trace in enumerate(result.restart_log_probability):
        length = result.restart_iterations[i] + 1
        assert np.isfinite(trace[:length]).all()
        assert np.isnan(trace[length:]).all()
        assert never_falls(trace[:length])
        assert trace[length - 1] == result.restart_objectives[i]
    best = result.best_restart
    assert result.restart_objectives[best] == result.restart_objectives.max()
    assert result.objective_log_probability == result.restart_objectives[best]
    assert result.num_iterations == result.restart_iterations[best]
    np.testing.assert_array_equal(
        result.log_probability, result.restart_log_probability[best, : result.num_iterations + 1]
    )
    assert result.restart_converged.all()


@pytest.mark.parametrize(("case", "fitted"), FITS.values(), ids=FITS)
def test_data_and_names_come_back_as_given(case, fitted):
    trials, result = trials_of(case), fitted()
    K, C, D = case
    for name in ("X", "U", "mask", "session_ids"):
        np.testing.assert_array_equal(getattr(result, name), getattr(trials, name))
    np.testing.assert_array_equal(result.y[trials.mask], trials.y[trials.mask])
    assert result.emission_names == NAMES
    assert result.transition_names == tuple(f"u{i}" for i in range(D))
    assert (result.num_states, result.num_classes) == (K, C)
    assert result.baseline_class_idx == trials.baseline
    assert result.U.shape == (len(trials.y), D)
    assert result.fitted_params.emission_weights.shape == (K, C - 1, 2)
    assert (result.fitted_params.transition_weights is None) == (D == 0)
    assert result.restart_objectives.dtype == np.float64
    assert result.smoothed_state_probs.dtype == np.float64


def test_same_seed_same_bits():
    again, before = fit(trials_of(TWO)), two()
    np.testing.assert_array_equal(again.restart_objectives, before.restart_objectives)
    np.testing.assert_array_equal(again.choice_probs, before.choice_probs)
    for a, b in zip(again.fitted_params[:3], before.fitted_params[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.best_restart == before.best_restart


def test_another_seed_starts_elsewhere_and_ends_at_the_same_optimum():
    other = fit(trials_of(TWO), seed=1)
    assert np.all(other.restart_log_probability[:, 0] != two().restart_log_probability[:, 0])
    assert other.objective_log_probability == pytest.approx(
        two().objective_log_probability, rel=1e-8
    )


def test_more_restarts_keep_the_first_ones():
    more = fit(trials_of(TWO), n_restarts=RESTARTS + 2)
    np.testing.assert_allclose(
        more.restart_objectives[:RESTARTS], two().restart_objectives, rtol=1e-9
    )


def test_what_stands_where_no_choice_was_made_changes_not_a_bit():
    trials = trials_of(TWO)
    assert not trials.mask.all()
    for code in (0, 1, 99, np.nan):
        written = replace(trials, y=np.where(trials.mask, trials.y, code))
        result = fit(written, mask=trials.mask)
        np.testing.assert_array_equal(result.choice_probs, two().choice_probs)
        np.testing.assert_array_equal(result.restart_objectives, two().restart_objectives)
        assert result.accuracy == two().accuracy


def test_interleaved_sessions_come_back_in_the_order_of_the_caller():
    trials = trials_of(TWO)
    rng = np.random.default_rng(0)
    turns = rng.permutation(np.repeat(np.arange(10), 40))
    rows = np.empty(len(turns), int)
    for i, session in enumerate(trials.sessions):
        rows[turns == i] = session
    result = fit(trials.rows(rows))
    np.testing.assert_array_equal(result.session_ids, trials.session_ids[rows])
    np.testing.assert_array_equal(result.X, trials.X[rows])
    # Among restarts of one optimum rounding picks the best, and with it the states' numbers.
    same = np.allclose(result.smoothed_state_probs[0], two().smoothed_state_probs[rows[0]], 0, 1e-3)
    order = [0, 1] if same else [1, 0]
    for name in ("smoothed_state_probs", "predictive_state_probs"):
        np.testing.assert_allclose(
            getattr(result, name)[:, order], getattr(two(), name)[rows], atol=1e-6, err_msg=name
        )
    np.testing.assert_allclose(result.choice_probs, two().choice_probs[rows], atol=1e-6)
    assert result.raw_log_likelihood == pytest.approx(two().raw_log_likelihood, rel=1e-8)


def test_most_likely_states_are_those_of_all_paths():
    trials = trials_of(TWO)
    tiny = trials.rows(np.concatenate([rows[:6] for rows in trials.sessions]))
    result = two()
    decoded = most_likely_states(
        replace(
            result,
            X=tiny.X,
            y=tiny.y,
            U=tiny.U,
            mask=tiny.mask,
            session_ids=tiny.session_ids,
        )
    )
    np.testing.assert_array_equal(decoded, best_paths(result.fitted_params, tiny))


@pytest.mark.parametrize("sigma", [2.0, np.inf])
def test_one_state_is_logistic_regression(sigma):
    trials = trials_of(GLM)
    result = fit(trials, 1, emission_prior_scale=sigma)
    made = trials.mask
    theirs = LogisticRegression(
        C=np.inf if np.isinf(sigma) else sigma**2, fit_intercept=False, tol=1e-13, max_iter=10**5
    ).fit(trials.X[made], trials.y[made])
    np.testing.assert_allclose(result.fitted_params.emission_weights[0], theirs.coef_, atol=1e-6)
    assert result.raw_log_likelihood == pytest.approx(
        theirs.predict_log_proba(trials.X[made])[np.arange(made.sum()), trials.y[made]].sum(),
        rel=1e-8,
    )
    np.testing.assert_allclose(result.smoothed_state_probs, 1.0, rtol=1e-15)
    assert len(result.restart_objectives) == 1


def test_one_prior_scale_per_regressor():
    priors = replace(DEFAULT, emission_scale=np.array([0.1, np.inf]))
    result = fit(trials_of(TWO), emission_prior_scale=(0.1, np.inf))
    truth = objective(result.fitted_params, trials_of(TWO), priors)
    assert result.objective_log_probability == pytest.approx(truth, rel=1e-12)
    assert np.abs(result.fitted_params.emission_weights[:, :, 0]).max() < 0.5


def test_transition_priors_are_those_of_the_settings():
    priors = replace(DEFAULT, concentration=1.5, stickiness=20.0)
    result = fit(trials_of(TWO), transition_concentration=1.5, stickiness=20.0)
    truth = objective(result.fitted_params, trials_of(TWO), priors)
    assert result.objective_log_probability == pytest.approx(truth, rel=1e-12)
    stay = np.diag(result.fitted_params.transition_matrix)
    assert np.all(stay > np.diag(two().fitted_params.transition_matrix).min())


def test_classes_may_be_swapped():
    trials = trials_of(TWO)
    swapped = replace(trials, y=np.where(trials.mask, 1 - trials.y, -1), baseline=1)
    result = fit(swapped)
    assert result.objective_log_probability == pytest.approx(
        two().objective_log_probability, rel=1e-8
    )
    np.testing.assert_allclose(result.choice_probs[:, ::-1], two().choice_probs, atol=1e-6)
    # Over the other baseline the log-odds are those of the other class.
    other = fit(replace(trials, baseline=1))
    assert other.objective_log_probability == pytest.approx(
        two().objective_log_probability, rel=1e-8
    )
    np.testing.assert_allclose(other.choice_probs, two().choice_probs, atol=1e-6)


def test_frozen_weights_are_exactly_what_was_said():
    result = fit(
        trials_of(DRIVEN),
        frozen_emissions={1: {"stimulus": 0.25}},
        frozen_transitions={0: {"u1": -0.5}},
    )
    assert np.all(result.fitted_params.emission_weights[1, :, 0] == 0.25)
    assert np.all(result.fitted_params.transition_weights[0, :, 1] == -0.5)
    assert result.frozen_emissions == {1: {"stimulus": 0.25}}
    assert result.frozen_transitions == {0: {"u1": -0.5}}
    frozen, held = np.zeros((2, 2, 2), bool), np.zeros((2, 1, 2), bool)
    frozen[1, :, 0], held[0, :, 1] = True, True
    truth = objective(
        result.fitted_params,
        trials_of(DRIVEN),
        driven_priors(DEFAULT),
        frozen=frozen,
        frozen_transitions=held,
    )
    assert result.objective_log_probability == pytest.approx(truth, rel=1e-12)
    assert np.all(result.restart_converged)


def test_a_warm_start_is_climbed_first_and_costs_little_from_its_own_optimum():
    trials = trials_of(TWO)
    alone = fit(trials, warm_start=two().fitted_params, n_restarts=0)
    assert len(alone.restart_objectives) == 1
    assert alone.num_iterations <= 3
    assert alone.objective_log_probability == pytest.approx(
        two().objective_log_probability, rel=1e-10
    )
    beside = fit(trials, warm_start=two().fitted_params)
    assert len(beside.restart_objectives) == RESTARTS + 1
    np.testing.assert_allclose(beside.restart_objectives[1:], two().restart_objectives, rtol=1e-9)


def test_a_warm_start_may_rise_from_zero():
    params = two().fitted_params
    start = params._replace(initial_probs=np.array([1.0, 0.0]), transition_matrix=np.eye(2))
    result = fit(trials_of(TWO), warm_start=start, n_restarts=0)
    assert result.objective_log_probability == pytest.approx(
        two().objective_log_probability, rel=1e-8
    )


def test_a_session_of_one_trial_counts():
    trials = trials_of(TWO)
    lone = trials.rows(np.concatenate([trials.sessions[0][:1], *trials.sessions[1:]]))
    result = fit(lone)
    law = two().fitted_params.initial_probs
    assert law.shape == (2,)
    truth = by_recursion(result.fitted_params, lone)
    assert result.raw_log_likelihood == pytest.approx(truth.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(result.fitted_params.initial_probs, truth.initial / 10, atol=1e-5)
    np.testing.assert_allclose(
        result.predictive_state_probs[0], result.fitted_params.initial_probs, rtol=1e-12
    )


def test_progress_is_told():
    events = []
    fit(trials_of(TWO), progress_callback=events.append, cv_folds=2)
    for phase in ("full_data", "cross_validation"):
        for event in ("restart_start", "restart_complete"):
            told = [e for e in events if (e["event"], e.get("fit_phase")) == (event, phase)]
            folds = [None] if phase == "full_data" else [0, 1]
            counted = {(e.get("fold"), e["restart"]) for e in told}
            assert counted == {(f, r) for f in folds for r in range(RESTARTS)}, (phase, event)
            assert len(told) == len(counted)
            assert all(e["num_states"] == 2 for e in told)
    ends = {
        e["restart"]: e["log_prob"]
        for e in events
        if e["event"] == "restart_complete" and e["fit_phase"] == "full_data"
    }
    np.testing.assert_array_equal([ends[r] for r in range(RESTARTS)], two().restart_objectives)
    for event in ("cv_fold_start", "cv_fold_complete"):
        assert sorted(e["fold"] for e in events if e["event"] == event) == [0, 1]


def test_choices_that_numpy_masks_do_not_count():
    trials = trials_of(GLM)
    made = np.maximum(trials.y, 0)
    none = ~trials.mask | (np.arange(len(made)) % 3 == 0)
    X = np.where(none[:, None], np.nan, trials.X)  # nothing was shown there either
    options = {"num_states": 1, "num_classes": 2}
    masked = fit_glmhmm(np.ma.array(made, mask=none), X, trials.session_ids, **options)
    plain = fit_glmhmm(made, trials.X, trials.session_ids, mask=~none, **options)
    assert masked.num_choices == (~none).sum()
    assert masked.raw_log_likelihood == plain.raw_log_likelihood


def test_a_start_in_a_corner_of_the_initial_probabilities_converges_too():
    """As of a pooled fit of few sessions, all of which began in one state."""
    rng = np.random.default_rng(0)
    for _ in range(8):  # of eight sessions the last is such that EM leaves for the other corner
        state, trials = int(rng.random() < 0.5), []
        for _ in range(300):
            state = 1 - state if rng.random() < 0.03 else state
            x = rng.choice([-1, -0.5, -0.25, 0.25, 0.5, 1])
            log_odds = 0.5 * x + 1.5 if state else 4 * x
            trials.append((x, rng.random() < 1 / (1 + np.exp(-log_odds))))
    x, y = np.array(trials).T
    matrix = np.array([[0.97, 0.03], [0.03, 0.97]])
    weights = np.array([[[4.0, 0.0]], [[0.5, 1.5]]])
    start = Parameters(np.array([1.0, 0.0]), matrix, weights)
    X, session = np.column_stack([x, np.ones(300)]), np.zeros(300)
    options = {"num_states": 2, "num_classes": 2, "n_restarts": 2}
    result = fit_glmhmm(y, X, session, warm_start=start, **options)
    assert result.restart_converged.all()
    np.testing.assert_allclose(result.restart_objectives, result.objective_log_probability)
