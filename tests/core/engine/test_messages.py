"""Filtering, smoothing, prediction and Viterbi, against all paths and by invariances."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.laid_out import TINY, inferred, lanes_of, padded
from core.oracles import (
    best_paths,
    by_enumeration,
    by_recursion,
    class_probs,
    draw_params,
    draw_trials,
)
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from glmhmm_core.engine.lanes import fill
from glmhmm_core.engine.messages import smooth
from glmhmm_core.engine.parameters import Parameters

#: States, choices and regressors of the transitions; of the choice there are two.
CASES = [(1, 2, 0), (2, 2, 0), (3, 3, 0), (2, 3, 2), (3, 2, 1)]
EXACT = {"rtol": 1e-9, "atol": 1e-14}
lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)
seeds = st.integers(0, 2**32 - 1)


def drawn(case, seed, lengths=(6, 1, 4, 2, 5), **options):
    K, C, D = case
    rng = np.random.default_rng(seed)
    baseline = int(rng.integers(C))
    params = draw_params(rng, K, C, 2, D)
    return params, draw_trials(rng, lengths, C, 2, D, baseline=baseline, **options)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_messages_are_those_of_all_paths(case, seed):
    params, trials = drawn(case, seed)
    truth = by_enumeration(params, trials)
    predicted, filtered, smoothed, scale, choices, path = inferred(params, trials)

    np.testing.assert_allclose(np.log(scale).sum(), truth.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(predicted, truth.predicted, **EXACT)
    np.testing.assert_allclose(filtered, truth.filtered, **EXACT)
    np.testing.assert_allclose(smoothed, truth.smoothed, **EXACT)
    np.testing.assert_array_equal(path, best_paths(params, trials))

    order = [trials.baseline, *(c for c in range(trials.num_classes) if c != trials.baseline)]
    law = np.einsum("tk,tkc->tc", truth.predicted, class_probs(params, trials))
    np.testing.assert_allclose(choices, law[:, order], **EXACT)


@pytest.mark.parametrize("case", CASES)
def test_recursions_of_the_oracle_are_those_of_all_paths(case):
    params, trials = drawn(case, 0)
    truth, recursive = by_enumeration(params, trials), by_recursion(params, trials)
    for name, value in vars(truth).items():
        np.testing.assert_allclose(getattr(recursive, name), value, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
@given(seed=seeds, lengths=lengths)
@examples(max_examples=25)
def test_scores_of_choices_are_what_was_predicted_for_them_and_sum_to_the_likelihood(
    case, seed, lengths
):
    params, trials = drawn(case, seed, lengths)
    _, _, _, scale, choices, _ = inferred(params, trials)
    order = [trials.baseline, *(c for c in range(trials.num_classes) if c != trials.baseline)]
    chosen = choices[np.arange(len(trials.y)), [order.index(max(c, 0)) for c in trials.y]]
    np.testing.assert_allclose(scale, np.where(trials.mask, chosen, 1.0), rtol=1e-12)
    np.testing.assert_allclose(
        np.log(scale).sum(),
        by_recursion(params, trials).log_likelihood,
        rtol=1e-10,
        atol=1e-13,
    )


@pytest.mark.parametrize("case", CASES)
@given(seed=seeds, lengths=lengths)
@examples(max_examples=15)
def test_sessions_are_strangers_to_each_other(case, seed, lengths):
    """Order, company, lanes and padding change nothing of a session; its parts add up."""
    params, trials = drawn(case, seed, lengths)
    together = inferred(params, trials)
    order = np.random.default_rng(seed).permutation(len(lengths))
    rows = np.concatenate([trials.sessions[i] for i in order])
    shuffled = inferred(params, trials.rows(rows))
    for a, b in zip(shuffled, together, strict=True):
        np.testing.assert_allclose(a, b[rows], rtol=1e-12)
    for rows in trials.sessions:
        for a, b in zip(inferred(params, trials.rows(rows)), together, strict=True):
            np.testing.assert_allclose(a, b[rows], rtol=1e-12)


@given(seed=seeds, lengths=lengths)
@examples(max_examples=15)
def test_trials_of_sessions_may_be_interleaved(seed, lengths):
    params, trials = drawn((3, 3, 0), seed, lengths)
    # A random merge of the sessions that keeps the order within each.
    turns = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(lengths)), lengths))
    rows = np.empty(len(turns), int)
    for i, session in enumerate(trials.sessions):
        rows[turns == i] = session
    for a, b in zip(inferred(params, trials.rows(rows)), inferred(params, trials), strict=True):
        np.testing.assert_allclose(a, b[rows], rtol=1e-12)


def test_padding_changes_nothing():
    params, trials = drawn((3, 2, 1), 5)
    lanes, layout = lanes_of(trials)
    for a, b in zip(inferred(params, trials, layout.shape), inferred(params, trials), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    pads = padded(lanes, TINY)
    scale = np.array(smooth(params, pads)[0].scale)
    scale[layout.step, layout.lane] = 1.0
    np.testing.assert_allclose(scale, 1.0, rtol=1e-14)


@given(seed=seeds, lengths=lengths, code=st.integers(-9, 9))
def test_what_is_written_where_no_choice_was_made_changes_not_a_bit(seed, lengths, code):
    trials = drawn((3, 3, 2), seed, lengths, missing=0.5)[1]
    lanes, layout = lanes_of(trials)
    written = np.where(trials.mask, trials.y, code)
    again = fill(layout, trials.X, trials.U, written, trials.mask, 3, trials.baseline)
    for a, b in zip(again, lanes, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES)
@given(seed=seeds, data=st.data())
@examples(max_examples=15)
def test_a_choice_has_no_part_in_its_own_prediction_nor_the_future_in_any(case, seed, data):
    params, trials = drawn(case, seed)
    row = data.draw(st.integers(0, len(trials.y) - 1))
    y = trials.y.copy()
    y[row] = data.draw(st.sampled_from([c for c in range(-1, trials.num_classes) if c != y[row]]))
    before, after = inferred(params, trials), inferred(params, replace(trials, y=y))
    session = trials.session_ids == trials.session_ids[row]
    past = session & (np.arange(len(y)) <= row)
    for i in (0, 4):  # predicted states, predicted choices
        np.testing.assert_array_equal(after[i][past], before[i][past])
        np.testing.assert_array_equal(after[i][~session], before[i][~session])
    np.testing.assert_array_equal(
        after[1][past & (np.arange(len(y)) < row)], before[1][past & (np.arange(len(y)) < row)]
    )


@given(seed=seeds)
@examples(max_examples=15)
def test_states_may_be_renumbered(seed):
    params, trials = drawn((3, 2, 1), seed)
    order = np.random.default_rng(seed).permutation(3)
    before, after = inferred(params, trials), inferred(renumbered(params, order), trials)
    for i in (0, 1, 2):
        np.testing.assert_allclose(after[i], before[i][:, order], **EXACT)
    for i in (3, 4):
        np.testing.assert_allclose(after[i], before[i], **EXACT)
    np.testing.assert_array_equal(order[after[5]], before[5])


def renumbered(params, order):
    """The same model whose state i was ``order[i]``."""
    K = len(order)
    weights = np.zeros((K, K, params.transition_weights.shape[2]))  # staying: 0
    for i in range(K):
        weights[i, [j for j in range(K) if j != i]] = params.transition_weights[i]
    weights = weights[np.ix_(order, order)]
    return Parameters(
        params.initial_probs[order],
        params.transition_matrix[np.ix_(order, order)],
        params.emission_weights[order],
        np.stack([np.delete(weights[i], i, 0) for i in range(K)]),
    )


def test_choices_that_no_state_could_make_stay_finite():
    params, trials = drawn((2, 2, 0), 3, missing=0.0)
    params = params._replace(emission_weights=np.full_like(params.emission_weights, 5000.0))
    for array in inferred(params, trials):
        assert np.isfinite(array).all()


def test_transitions_of_probability_zero_are_never_taken():
    params, trials = drawn((3, 3, 0), 7)
    matrix = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    params = params._replace(transition_matrix=matrix, initial_probs=np.array([1.0, 0.0, 0.0]))
    truth = by_enumeration(params, trials)
    _, _, smoothed, scale, _, path = inferred(params, trials)
    np.testing.assert_allclose(np.log(scale).sum(), truth.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(smoothed, truth.smoothed, **EXACT)
    np.testing.assert_array_equal(path, best_paths(params, trials))
