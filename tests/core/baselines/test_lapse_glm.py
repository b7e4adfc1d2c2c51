"""Lapse GLMs: formulas, optima, folds and what a fit must not depend on."""

import numpy as np
import pytest
from lapse_oracle import objective, previous_of, probs_of
from sklearn.linear_model import LogisticRegression

from glmhmm_core.baselines.lapse_glm import LapseGLM, fit_lapse_glm, predict_lapse_glm
from glmhmm_core.baselines.lapses import lay_out, previous_choices
from glmhmm_core.baselines.simulate import simulate_lapse_glm
from glmhmm_core.baselines.splits import Splits
from glmhmm_core.comparison import scores
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import fit_glmhmm

KINDS = ["none", "class_1", "class", "history", "history_conditioned"]
SCALE = np.array([10.0, 2.0, 3.0])


def count(kind, C):
    return {"none": 0, "class_1": 1, "class": C, "history": 2, "history_conditioned": 2 * C}[kind]


def labels(kind, C):
    return lay_out(kind, np.array([-1]), C).labels


def make(kind="class", C=2, trials=3000, baseline=0, seed=1, missing=0.03):
    """Simulated subject: y, X, session_ids, true params; some trials without a choice."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(trials, 2)) * 2, np.ones(trials)])
    weights = np.array([[2.0, -0.7, 0.4], [-1.2, 1.5, -0.3]])[: C - 1]
    rates = np.linspace(0.06, 0.14, count(kind, C)) / (C if kind == "class_1" else 1)
    params = LapseGLM(weights, rates, labels(kind, C), kind)
    sessions = np.repeat([f"s{i}" for i in range(trials // 100)], 100)
    y, X = simulate_lapse_glm(params, X, sessions, baseline_class_idx=baseline, seed=seed)
    y[rng.random(trials) < missing] = -1
    return y, X, sessions, params


def fit(data, kind, C=2, **more):
    y, X, sessions, _ = data
    return fit_lapse_glm(
        y, X, sessions, mask=y >= 0, num_classes=C, lapse=kind, prior_scale=SCALE, **more
    )


@pytest.mark.parametrize("baseline", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_prediction_is_the_formula(kind, baseline):
    for C in (2, 3):
        y, X, sessions, params = make(kind, C, trials=300, baseline=baseline)
        previous = previous_of(y, sessions)
        given = previous_choices(y, np.unique(sessions, return_inverse=True)[1])
        assert given.tolist() == [-1 if p is None else p for p in previous]
        probs = predict_lapse_glm(params, X, previous=given, baseline_class_idx=baseline)
        wanted = probs_of(params.weights, params.lapse_rates, kind, X, previous, baseline)
        np.testing.assert_allclose(probs, wanted, rtol=1e-12)
        np.testing.assert_allclose(probs.sum(1), 1.0, rtol=1e-12)


def test_two_rates_of_two_classes_in_closed_form():
    _, X, _, params = make("class", trials=100)
    left, right = params.lapse_rates
    wanted = right + (1 - right - left) / (1 + np.exp(-X @ params.weights[0]))
    np.testing.assert_allclose(predict_lapse_glm(params, X)[:, 1], wanted, rtol=1e-12)


@pytest.mark.parametrize(("kind", "C"), [(k, C) for k in KINDS for C in (2, 3)])
def test_the_end_is_a_mode_of_the_formula(kind, C):
    data = make(kind, C, trials=1000)
    y, X, sessions, _ = data
    result = fit(data, kind, C)
    assert result.converged
    assert result.num_parameters == 3 * (C - 1) + count(kind, C)
    weights, rates = result.fitted_params.weights, result.fitted_params.lapse_rates

    def at(flat):
        w = flat[: weights.size].reshape(weights.shape)
        return objective(w, flat[weights.size :], kind, X, y, sessions, SCALE)

    end = np.concatenate([weights.ravel(), rates])
    assert result.objective_log_probability == pytest.approx(at(end), abs=1e-8)
    steps = 2e-5 * np.eye(len(end))
    slope = [(at(end + s) - at(end - s)) / 4e-5 for s in steps]
    np.testing.assert_allclose(slope, 0.0, atol=2e-3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        near = end + np.append(
            rng.normal(size=weights.size) * 0.05, rng.normal(size=len(rates)) * 0.003
        )
        assert at(near) < at(end)
    assert result.raw_log_likelihood == pytest.approx(result.trial_log_likelihood.sum(), abs=0)
    made = y >= 0
    np.testing.assert_array_equal(result.trial_log_likelihood[~made], 0.0)
    np.testing.assert_allclose(
        np.log(result.choice_probs[made, y[made]]), result.trial_log_likelihood[made], rtol=1e-9
    )


@pytest.mark.parametrize("C", [2, 3])
def test_without_lapses_it_is_penalised_logistic_regression(C):
    data = make("none", C, trials=1000, missing=0.0)
    y, X, sessions, _ = data
    ours = fit_lapse_glm(y, X, sessions, num_classes=C, lapse="none", prior_scale=1.5)
    if C == 2:  # with more, scikit-learn penalises the weights of every class
        theirs = LogisticRegression(C=1.5**2, fit_intercept=False, tol=1e-10, max_iter=1000)
        np.testing.assert_allclose(ours.fitted_params.weights, theirs.fit(X, y).coef_, atol=1e-5)
    free = fit_lapse_glm(y, X, sessions, num_classes=C, lapse="none", prior_scale=np.inf)
    theirs = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10, max_iter=1000)
    np.testing.assert_allclose(free.choice_probs, theirs.fit(X, y).predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(("C", "baseline"), [(3, 0), (3, 2)])
def test_without_lapses_it_is_the_glmhmm_of_one_state_in_every_score(C, baseline):
    data = make("none", C, trials=1000, baseline=baseline)
    y, X, sessions, _ = data
    ours = fit(data, "none", C, cv_folds=2, seed=3, baseline_class_idx=baseline)
    theirs = fit_glmhmm(
        y, X, sessions, mask=y >= 0, num_states=1, num_classes=C, seed=3, cv_folds=2,
        emission_prior_scale=tuple(SCALE), baseline_class_idx=baseline, n_restarts=1,
    )  # fmt: skip
    near = {"abs": 1e-5}
    np.testing.assert_allclose(
        ours.fitted_params.weights, theirs.fitted_params.emission_weights[0], atol=1e-4
    )
    for name in ("objective_log_probability", "raw_log_likelihood", "accuracy", "num_choices"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), **near), name
    for name in ("aic", "bic", "bits_per_trial", "heldout_bits_per_trial", "heldout_accuracy"):
        assert getattr(ours, name) == pytest.approx(getattr(scores, name)(theirs), **near), name
    assert ours.num_parameters == scores.num_parameters(theirs)
    for mine, other in zip(ours.cv_metrics, theirs.cv_metrics, strict=True):
        for name in (
            "fold_index", "training_session_ids", "test_session_ids", "training_trial_count",
            "test_trial_count", "converged", "test_session_trial_counts",
        ):  # fmt: skip
            assert getattr(mine, name) == getattr(other, name), name
        for name in (
            "training_log_likelihood_per_trial", "test_log_likelihood_per_trial",
            "baseline_log_likelihood_per_trial", "training_accuracy", "test_accuracy",
            "final_training_objective", "test_bits_per_trial",
        ):  # fmt: skip
            assert getattr(mine, name) == pytest.approx(getattr(other, name), abs=1e-6), name
        np.testing.assert_allclose(
            mine.test_session_log_likelihoods, other.test_session_log_likelihoods, atol=1e-3
        )


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_sessions_are_scored_by_the_formula_and_add_up(kind):
    data = make(kind, trials=1000)
    y, X, sessions, _ = data
    result = fit(data, kind, cv_folds=2)
    previous = previous_of(y, sessions)
    for fold in result.cv_metrics:
        params = fold.fitted_params
        probs = probs_of(params.weights, params.lapse_rates, kind, X, previous)
        for name, total in zip(
            fold.test_session_ids, fold.test_session_log_likelihoods, strict=True
        ):
            rows = (sessions == name) & (y >= 0)
            assert total == pytest.approx(np.log(probs[rows, y[rows]]).sum(), abs=1e-8)
        alone = fit_lapse_glm(
            y[np.isin(sessions, fold.training_session_ids)],
            X[np.isin(sessions, fold.training_session_ids)],
            sessions[np.isin(sessions, fold.training_session_ids)],
            mask=(y >= 0)[np.isin(sessions, fold.training_session_ids)],
            num_classes=2, lapse=kind, prior_scale=SCALE,
        )  # fmt: skip
        assert alone.objective_log_probability == pytest.approx(
            fold.final_training_objective, abs=1e-6
        )
        assert fold.test_log_likelihood == pytest.approx(
            fold.test_log_likelihood_per_trial * fold.test_trial_count, abs=1e-9
        )


@pytest.mark.parametrize("kind", KINDS[1:])
def test_recovers_the_rates_that_made_the_choices(kind):
    y, X, sessions, params = make(kind, trials=16_000, seed=5, missing=0.0)
    found = fit_lapse_glm(
        y, X, sessions, num_classes=2, lapse=kind, prior_scale=np.inf
    ).fitted_params
    np.testing.assert_allclose(found.lapse_rates, params.lapse_rates, atol=0.025)
    np.testing.assert_allclose(found.weights, params.weights, atol=0.25)


def test_binary_history_lapses_alternate_to_the_other_class():
    _, X, sessions, params = make("history", trials=16_000, missing=0.0)
    params = LapseGLM(params.weights, np.array([0.05, 0.25]), params.lapse_labels, "history")
    y, X = simulate_lapse_glm(params, X, sessions, seed=2)
    found = fit_lapse_glm(y, X, sessions, num_classes=2, lapse="history")
    np.testing.assert_allclose(found.fitted_params.lapse_rates, [0.05, 0.25], atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_at_masked_trials_changes_nothing(kind):
    y, X, sessions, _ = make(kind, trials=1000)
    made = y >= 0
    one, other = (
        fit_lapse_glm(
            np.where(made, y, c), X, sessions, mask=made, num_classes=2, lapse=kind, cv_folds=2
        )
        for c in (0, 1)
    )
    np.testing.assert_array_equal(one.choice_probs, other.choice_probs)
    assert one.cv_metrics == other.cv_metrics


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_may_interleave_and_change_places(kind):
    y, X, sessions, _ = make(kind, trials=1000)
    straight = fit((y, X, sessions, None), kind)
    rng = np.random.default_rng(0)
    # Each session's trials in order, sessions shuffled into one another.
    turn = rng.permutation(sessions)
    order = np.empty(len(y), int)
    for name in np.unique(sessions):
        order[turn == name] = np.flatnonzero(sessions == name)
    mixed = fit((y[order], X[order], sessions[order], None), kind)
    assert mixed.objective_log_probability == pytest.approx(
        straight.objective_log_probability, abs=1e-7
    )
    np.testing.assert_allclose(mixed.choice_probs, straight.choice_probs[order], atol=1e-5)


@pytest.mark.parametrize("kind", ["history", "history_conditioned"])
def test_history_lapses_stop_at_session_boundaries(kind):
    y, X, sessions, _ = make(kind, trials=500, missing=0.0)
    result = fit((y, X, sessions, None), kind)
    first = np.flatnonzero(np.concatenate([[True], sessions[1:] != sessions[:-1]]))
    weights = result.fitted_params.weights
    for row in first:
        wanted = 1 / (1 + np.exp(-weights[0] @ X[row]))
        assert result.choice_probs[row, 1] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_does_not_change_its_own_prediction(kind):
    y, X, sessions, params = make(kind, trials=300, missing=0.0)
    _, code = np.unique(sessions, return_inverse=True)
    before = predict_lapse_glm(params, X, previous=previous_choices(y, code))
    changed = y.copy()
    changed[150] = 1 - changed[150]
    after = predict_lapse_glm(params, X, previous=previous_choices(changed, code))
    np.testing.assert_array_equal(before[:151], after[:151])
    assert (before[151] != after[151]).any() == kind.startswith("history")


def test_units_of_a_regressor_change_nothing_but_its_weight():
    y, X, sessions, _ = make("class", trials=1000)
    unit = np.array([1000.0, 1e-3, 1.0])
    one = fit((y, X, sessions, None), "class")
    other = fit_lapse_glm(
        y, X * unit, sessions, mask=y >= 0, num_classes=2, lapse="class", prior_scale=SCALE / unit
    )
    np.testing.assert_allclose(
        other.fitted_params.weights * unit, one.fitted_params.weights, rtol=1e-6
    )
    assert other.raw_log_likelihood == pytest.approx(one.raw_log_likelihood, abs=1e-6)


def test_lapses_never_fit_worse_than_none():
    data = make("none", trials=1000)
    none = fit(data, "none").objective_log_probability
    for kind in KINDS[1:]:
        assert fit(data, kind).objective_log_probability > none - 1e-3


def test_no_start_depends_on_others_and_all_agree_on_rich_data():
    data = make("class", trials=1000)
    many = fit(data, "class", n_starts=8)
    assert np.ptp(many.start_objectives) < 1e-4
    np.testing.assert_array_equal(
        fit(data, "class", n_starts=2).start_objectives, many.start_objectives[:2]
    )


def test_rates_stay_within_their_bound():
    data = make("class", trials=1000)
    bounded = fit(data, "class", max_lapse=0.05)
    assert 0.045 < bounded.fitted_params.lapse_rates.sum() <= 0.05
    assert bounded.raw_log_likelihood < fit(data, "class").raw_log_likelihood


def test_previous_choices_may_be_given():
    data = make("history", trials=800, missing=0.3)
    y, _, sessions, _ = data
    given = np.array([-1 if p is None else p for p in previous_of(y, sessions)])
    one, other = fit(data, "history"), fit(data, "history", previous=given)
    np.testing.assert_array_equal(one.choice_probs, other.choice_probs)
    none = fit(data, "history", previous=np.full(len(y), -1))
    assert any("informs lapse rate 'repeat'" in remark for remark in none.remarks)


def test_splits_train_on_the_past_alone():
    data = make("class", trials=1000)
    train = np.tri(2, 10, 4, dtype=bool)
    test = np.eye(2, 10, 5, dtype=bool)
    result = fit(data, "class", splits=Splits(train, test))
    assert [fold.test_session_ids for fold in result.cv_metrics] == [("s5",), ("s6",)]
    assert result.cv_metrics[1].training_session_ids == tuple(f"s{i}" for i in range(6))
    later = data[0].copy()
    later[600:] = np.where(later[600:] < 0, -1, 1 - later[600:])
    again = fit((later, *data[1:]), "class", splits=Splits(train, test)).cv_metrics[0]
    assert again == result.cv_metrics[0]


def test_history_regressors_are_fed_back():
    _, X, sessions, _ = make("none", trials=500)
    params = LapseGLM(
        np.array([[1.0, 2.0, 0.1]]), np.array([0.1, 0.1]), labels("class", 2), "class"
    )
    rewarded = (X[:, 0] > 0).astype(int)
    y, X = simulate_lapse_glm(
        params, X, sessions, history={"previous_choice": [1], "wsls": [2]}, rewarded=rewarded
    )
    previous = np.array([0 if p is None else 2 * p - 1 for p in previous_of(y, sessions)])
    np.testing.assert_array_equal(X[:, 1], previous)
    won = np.concatenate([[0], np.where(y == rewarded, 1, -1)[:-1]])
    np.testing.assert_array_equal(X[:, 2], previous * won)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lapse": "both"}, "lapse is 'both'"),
        ({"max_lapse": 1.5}, "max_lapse is 1.5"),
        ({"prior_scale": -1.0}, "prior_scale is -1.0"),
        ({"prior_scale": (1.0, 2.0)}, "2 entries for 3 regressors"),
        ({"n_starts": 0}, "n_starts is 0"),
        ({"max_iters": 0}, "max_iters is 0"),
        ({"cv_folds": 1}, "cv_folds is 1"),
        ({"cv_folds": 99}, "99 folds for 10 sessions"),
        ({"names": ["a", "b"]}, "do not fit 3 regressors"),
        ({"baseline_class_idx": 2}, "baseline_class_idx is 2"),
        ({"mask": np.ones(3, bool)}, "mask has shape"),
        ({"mask": np.zeros(1000, bool)}, "no trial has a choice"),
        ({"y": np.full(1000, 2)}, "choice 2 in row 0"),
        ({"y": np.full(1000, 0.5)}, "not a whole number"),
        ({"X": np.full((1000, 3), np.nan)}, "'x0' is nan in row 0"),
        ({"X": np.full((1000, 3), "a")}, "no number"),
        ({"previous": np.zeros(3, int)}, "previous has shape"),
        ({"previous": np.full(1000, 2)}, "previous choice 2"),
        ({"splits": Splits(np.ones((1, 10)), np.ones((1, 10)))}, "trained and tested on"),
        ({"splits": Splits(np.ones((1, 9)), np.ones((1, 9)))}, "splits have shapes"),
        ({"splits": Splits(np.zeros((1, 10)), np.ones((1, 10)))}, "no choice to train on"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_remedy(change, problem):
    y, X, sessions, _ = make("none", trials=1000)
    given = {"y": np.maximum(y, 0), "X": X, "session_ids": sessions, "num_classes": 2}
    with pytest.raises(InputError, match=problem) as error:
        fit_lapse_glm(**{**given, **change})
    assert error.value.remedy


def test_bad_input_of_prediction_and_simulation():
    _, X, sessions, params = make("history", trials=100)
    with pytest.raises(InputError, match="previous choice"):
        predict_lapse_glm(params, X)
    with pytest.raises(InputError, match="rewarded"):
        simulate_lapse_glm(params, X, sessions, history={"wsls": [0]})
    with pytest.raises(InputError, match="X has shape"):
        simulate_lapse_glm(params, X[:, :2], sessions)
