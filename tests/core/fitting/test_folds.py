"""Folds: balanced, deterministic, and undisturbed by later sessions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import assign_folds, split_sessions

sizes = st.integers(0, 80)
folds = st.integers(2, 9)
seeds = st.integers(0, 2**31)


@given(sizes, folds, seeds)
def test_sizes_differ_by_at_most_one(n, k, seed):
    counts = np.bincount(assign_folds(n, k, seed), minlength=k)
    assert counts.sum() == n
    assert len(counts) == k
    assert counts.max() - counts.min() <= 1


@given(sizes, st.integers(1, 10), folds, seeds)
def test_an_appended_session_moves_no_other(n, more, k, seed):
    np.testing.assert_array_equal(assign_folds(n + more, k, seed)[:n], assign_folds(n, k, seed))


@given(st.integers(0, 20), folds, seeds)
def test_every_fold_spans_the_whole_recording(blocks, k, seed):
    dealt = assign_folds(blocks * k, k, seed).reshape(blocks, k)
    np.testing.assert_array_equal(np.sort(dealt, 1), np.tile(np.arange(k), (blocks, 1)))


@given(folds, seeds)
def test_blocks_are_dealt_each_by_its_own_permutation(k, seed):
    blocks = 40
    dealt = assign_folds(blocks * k, k, seed).reshape(blocks, k)
    assert len(np.unique(dealt, axis=0)) > 1
    other = assign_folds(blocks * k, k, seed + 1)
    assert np.any(other != dealt.ravel())


@given(st.integers(1, 6), st.integers(0, 40))
def test_prospective_folds_score_the_later_half_block_by_block_from_the_past(k, more):
    n = 2 * k + more
    train, test = split_sessions(n, k, "prospective")
    np.testing.assert_array_equal(test.sum(0), np.arange(n) >= -(-n // 2))  # each once, in order
    sizes = test.sum(1)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
    for past, block in zip(train, test, strict=True):
        first = np.flatnonzero(block)[0]
        np.testing.assert_array_equal(past, np.arange(n) < first)  # all before, nothing after
        assert np.all(np.diff(np.flatnonzero(block)) == 1)


@given(sizes, folds, seeds)
def test_interleaved_splits_are_the_folds(n, k, seed):
    if n < k:
        with pytest.raises(InputError, match=f"{k} interleaved folds need {k} sessions"):
            split_sessions(n, k, "interleaved", seed)
        return
    train, test = split_sessions(n, k, "interleaved", seed)
    np.testing.assert_array_equal(test.argmax(0), assign_folds(n, k, seed))
    np.testing.assert_array_equal(train, ~test)


def test_too_few_sessions_for_prospective_folds_are_refused():
    with pytest.raises(InputError, match="3 prospective folds need 6 sessions, there are 5"):
        split_sessions(5, 3, "prospective")


@pytest.mark.parametrize("kind", ["interleaved", "prospective"])
def test_no_folds_are_no_splits(kind):
    assert split_sessions(4, 0, kind).test.shape == (0, 4)
