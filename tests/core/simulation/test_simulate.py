"""Closed-loop simulation: history is that of the choices made, and draws follow the model."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.design.build import build_design
from glmhmm_core.design.history import history_columns
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.simulation.feedback import history_of, transition_history_of
from glmhmm_core.simulation.simulate import simulate, simulate_subjects
from glmhmm_core.tasks.load import load_task
from glmhmm_core.tasks.task import Regressor

HISTORY = {"previous_choice": [2], "wsls": [3]}


def draw_parameters(K, M=4, C=2, seed=0):
    rng = np.random.default_rng(seed)
    return Parameters(
        rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), K), rng.normal(size=(K, C - 1, M))
    )


def draw_trials(T, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=T), np.ones(T), np.full((T, 2), np.nan)])
    return X, rng.integers(0, 2, T)


def history(y, feedback, session_ids):
    """Previous choice and its correct side, one trial at a time, from the definition."""
    previous, correct = np.zeros(len(y)), np.zeros(len(y))
    last = {}
    for t, session in enumerate(session_ids):
        previous[t], correct[t] = last.get(session, (0.0, 0.0))
        if y[t] >= 0:
            sign = 2.0 * y[t] - 1
            last[session] = (sign, sign * feedback[t])
    return previous, correct


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 5),
)
def test_history_columns_are_those_of_the_choices(session_ids, K, no_choice, seed):
    X, rewarded = draw_trials(len(session_ids), seed)
    made = simulate(
        draw_parameters(K),
        X,
        np.array(session_ids),
        history=HISTORY,
        rewarded=rewarded,
        no_choice_prob=no_choice,
        seed=seed,
    )
    assert set(made.y.tolist()) <= {-1, 0, 1}
    np.testing.assert_array_equal(made.feedback, np.where(made.y == rewarded, 1, -1))
    previous, correct = history(made.y, made.feedback, session_ids)
    np.testing.assert_array_equal(made.X[:, 2], previous)
    np.testing.assert_array_equal(made.X[:, 3], correct)
    np.testing.assert_array_equal(made.X[:, :2], X[:, :2])


@pytest.mark.parametrize(("C", "baseline"), [(2, 0), (2, 1), (3, 0), (3, 2), (4, 1)])
def test_history_is_coded_as_the_design_codes_it(C, baseline):
    T, width = 300, C - 1
    session_ids = np.repeat(np.arange(6), T // 6)
    kinds = ("previous_choice_outcome", "previous_choice")
    history = {kind: list(range(i * width, (i + 1) * width)) for i, kind in enumerate(kinds)}
    made = simulate(
        draw_parameters(2, M=2 * width, C=C),
        np.full((T, 2 * width), np.nan),
        session_ids,
        history=history,
        rewarded=np.random.default_rng(0).integers(0, C, T),
        baseline_class_idx=baseline,
        no_choice_prob=0.2,
    )
    for kind in kinds:
        expected = history_columns(kind, made.y, made.feedback, session_ids, C, baseline)
        np.testing.assert_array_equal(made.X[:, history[kind]], expected)


def test_history_columns_of_a_task():
    assert history_of(load_task("ibl_2afc")) == HISTORY


def test_a_session_depends_on_its_place_alone():
    """A longer session begins as a shorter one; an appended session changes no other."""
    X, rewarded = draw_trials(120)
    params = draw_parameters(3)
    ids = np.repeat([0, 1, 2], 40)
    whole = simulate(params, X, ids, history=HISTORY, rewarded=rewarded, seed=4)
    kept = np.flatnonzero((ids < 2) & (np.arange(120) % 40 < 30))
    part = simulate(params, X[kept], ids[kept], history=HISTORY, rewarded=rewarded[kept], seed=4)
    np.testing.assert_array_equal(part.y, whole.y[kept])
    np.testing.assert_array_equal(part.states, whole.states[kept])
    again = simulate(params, X, ids, history=HISTORY, rewarded=rewarded, seed=5)
    assert not np.array_equal(again.y, whole.y)
    assert not np.array_equal(whole.y[:40], whole.y[40:80])


@pytest.mark.parametrize("baseline", [0, 1, 2])
def test_states_and_choices_follow_the_parameters(baseline):
    K, C, T = 3, 3, 60_000
    params = draw_parameters(K, M=2, C=C, seed=2)
    levels = np.array([[1.0, -1.0], [1.0, 0.5]])
    X = levels[np.random.default_rng(1).integers(0, 2, T)]
    ids = np.repeat(np.arange(T // 20), 20)
    made = simulate(
        params,
        X,
        ids,
        history={},
        baseline_class_idx=baseline,
        no_choice_prob=(0.0, 0.1, 0.5),
    )
    first = np.arange(T) % 20 == 0
    agrees(np.bincount(made.states[first], minlength=K), params.initial_probs)
    for k in range(K):
        came = np.flatnonzero(~first & (np.roll(made.states, 1) == k))
        agrees(np.bincount(made.states[came], minlength=K), params.transition_matrix[k])
        for level in levels:
            here = (made.states == k) & (level == X).all(axis=1)
            logits = np.insert(params.emission_weights[k] @ level, baseline, 0.0)
            law = np.exp(logits) / np.exp(logits).sum()
            missed = (0.0, 0.1, 0.5)[k]
            agrees(
                np.bincount(made.y[here] + 1, minlength=C + 1),
                np.array([missed, *((1 - missed) * law)]),
            )


TRACED = replace(
    load_task("two_afc"),
    regressors=(
        Regressor("bias", "bias", 3.0),
        Regressor("choice_lags", "lag", 2.0, count=3),
        Regressor("choice_trace", "losses", 2.0, decay=0.8, outcome="unrewarded"),
        Regressor("previous_choice", "previous_choice", 2.0),
    ),
    transition_regressors=(
        Regressor("session_time", "time", 2.0, trials=10.0),
        Regressor("outcome_trace", "outcomes", 2.0, decay=0.5),
        Regressor("choice_lags", "wins", 2.0, count=2, outcome="rewarded"),
        Regressor("choice_trace", "choices", 2.0, decay=0.9),
        Regressor("choice_trace", "sides", 2.0, decay=0.9, outcome="signed"),
        Regressor("outcome_lags", "outcome_lag", 2.0, count=2),
    ),
)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_what_is_fed_back_is_what_the_design_makes_of_the_choices(num_classes):
    """Of both kinds of regressors, over sessions with trials that have no choice."""
    names = ("left", "right", "neither")[:num_classes]
    task = replace(TRACED, choices=names)
    ids = np.repeat(["a", "b", "c"], [30, 1, 25])
    rng = np.random.default_rng(num_classes)
    driven = task.transition_names
    params = draw_parameters(2, len(task.feature_names), num_classes)._replace(
        transition_weights=rng.normal(size=(2, 1, len(driven)))
    )
    time = np.concatenate([np.arange(n) for n in (30, 1, 25)])
    given = np.full((len(ids), len(driven)), np.nan)
    given[:, 0] = time / 10
    X = np.full((len(ids), len(task.feature_names)), np.nan)
    X[:, 0] = 1.0
    made = simulate(
        params,
        X,
        ids,
        history=history_of(task),
        rewarded=rng.integers(0, num_classes, len(ids)),
        U=given,
        transition_history=transition_history_of(task, driven),
        no_choice_prob=0.2,
        seed=1,
    )
    table = pl.DataFrame(
        {
            "subject": ["ann"] * len(ids),
            "session": ids,
            "trial": time,
            "choice": pl.Series(made.y).replace(-1, None),
            "feedback": made.feedback,
            "in_chain": [True] * len(ids),
            "masked": [False] * len(ids),
        }
    )
    design = build_design(table, task)
    assert 0 < (made.y < 0).sum() < 30
    np.testing.assert_allclose(made.X, design.X, atol=1e-14)
    np.testing.assert_allclose(made.U, design.U, atol=1e-14)


def test_history_of_what_a_model_is_driven_by():
    found = transition_history_of(TRACED, ("time", "choices", "wins_1", "wins_2"))
    assert {r.name: columns for r, columns in found.items()} == {"choices": [1], "wins": [2, 3]}
    with pytest.raises(InputError, match="wins_2"):
        transition_history_of(TRACED, ("wins_1",))


def test_what_choices_do_not_feed_back_is_no_history():
    X, _ = draw_trials(4)
    with pytest.raises(InputError, match="session_time"):
        simulate(draw_parameters(2), X, np.zeros(4), history={"session_time": [2]})


def test_transition_regressors_move_the_odds_of_leaving():
    K, T = 3, 40_000
    rng = np.random.default_rng(5)
    params = draw_parameters(K, M=1, seed=3)._replace(transition_weights=rng.normal(size=(K, 2, 1)))
    U = rng.choice([-1.0, 2.0], size=(T, 1))
    ids = np.arange(T) // 100
    made = simulate(params, np.ones((T, 1)), ids, history={}, U=U)
    for i in range(K):
        away = [j for j in range(K) if j != i]
        for u in (-1.0, 2.0):
            odds = params.transition_matrix[i] / params.transition_matrix[i, i]
            odds[away] *= np.exp(params.transition_weights[i, :, 0] * u)
            inside = (made.states[:-1] == i) & (ids[1:] == ids[:-1])
            came = np.flatnonzero(inside & (U[1:, 0] == u)) + 1
            agrees(np.bincount(made.states[came], minlength=K), odds / odds.sum())


def agrees(counts, probs):
    """Five standard errors at most."""
    n = counts.sum()
    error = np.sqrt(n * probs * (1 - probs))
    assert (np.abs(counts - n * probs) <= 5 * error + 1e-9).all(), (counts, n * probs)


#: Subjects side by side: two of one shape, one with fewer states, one of a single trial.
COHORT = [(3, [0, 1, 0, 2, 2, 1, 0]), (2, [5] * 9), (3, [1, 1, 0, 0, 0]), (3, [0])]


def draw_cohort(D):
    subjects = []
    for n, (K, ids) in enumerate(COHORT):
        params, rng = draw_parameters(K, seed=n), np.random.default_rng([n, D])
        if D:
            params = params._replace(transition_weights=rng.normal(size=(K, K - 1, D)))
        X, rewarded = draw_trials(len(ids), n)
        subjects.append((params, X, np.array(ids), rewarded, rng.normal(size=(len(ids), D))))
    return subjects


@pytest.mark.parametrize("D", [0, 2])
def test_each_of_many_subjects_is_drawn_as_alone(D):
    subjects = draw_cohort(D)
    about = {"history": HISTORY, "no_choice_prob": 0.2}
    fed_back = {"transition_history": {"previous_choice": [1]}} if D else {}
    for order in (slice(None), slice(None, None, -1)):
        params, X, ids, rewarded, U = zip(*subjects[order], strict=True)
        seeds = [(7, len(one)) for one in ids]
        together = simulate_subjects(
            params, X, ids, rewarded=rewarded, U=U, seeds=seeds, **about, **fed_back
        )
        columns = zip(params, X, ids, rewarded, U, seeds, strict=True)
        for made, (own, x, i, right, u, seed) in zip(together, columns, strict=True):
            alone = simulate(own, x, i, rewarded=right, U=u, seed=seed, **about, **fed_back)
            for name, value in vars(alone).items():
                np.testing.assert_array_equal(getattr(made, name), value, err_msg=name)


def test_a_subject_that_is_wrong_is_named_by_its_number():
    params, X, ids, rewarded, _ = zip(*draw_cohort(0), strict=True)
    wrong = [*ids[:2], np.zeros(3), ids[3]]
    with pytest.raises(InputError, match=r"subject 2: X"):
        simulate_subjects(params, X, wrong, history=HISTORY, rewarded=rewarded, seeds=range(4))


def test_huge_weights_make_no_nan():
    params = Parameters(np.ones(1), np.ones((1, 1)), np.full((1, 1, 1), 1e6))
    X = np.array([[1.0], [-1.0]])
    with np.errstate(all="raise", under="ignore"):
        made = simulate(params, X, np.zeros(2), history={})
    assert made.y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"history": {"wsls": [2, 3]}}, "history"),
        ({"session_ids": np.zeros(4)}, "X"),
        ({"params": draw_parameters(2)._replace(initial_probs=np.ones(3) / 3)}, "initial_probs"),
        ({"params": draw_parameters(2, C=3)}, "history"),
        ({"params": draw_parameters(2)._replace(transition_weights=np.ones((2, 1, 1)))}, "U"),
        ({"rewarded": None}, "rewarded"),
        ({"rewarded": np.zeros(4)}, "rewarded"),
        ({"X": np.full((5, 4), np.inf)}, "finite"),
        ({"no_choice_prob": 1.5}, "no_choice_prob"),
        ({"no_choice_prob": np.nan}, "no_choice_prob"),
        ({"baseline_class_idx": 2}, "baseline_class_idx"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, told):
    X, rewarded = draw_trials(5)
    call = {
        "params": draw_parameters(2),
        "X": X,
        "session_ids": np.zeros(5),
        "history": HISTORY,
        "rewarded": rewarded,
    } | change
    with pytest.raises(InputError, match=told):
        simulate(**call)
