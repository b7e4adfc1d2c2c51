"""Folds: balanced, deterministic, and undisturbed by later sessions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.fitting.folds import assign_folds

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
