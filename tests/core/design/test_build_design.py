"""The design of a subject: keys, values, masks, and what a masked trial may and may not touch."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.design.build import build_design
from glmhmm_core.design.history import history_columns
from glmhmm_core.design.store import load_design, save_design
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.tasks.task import KeepBlocks, MaskUnless
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.sessions import trial_schema

TASK = replace(
    load_task("two_afc"),
    block_column="block",
    rules=(KeepBlocks((0.5,)), MaskUnless("response_time", max=1.0)),
)


def random_trials(seed=0, lengths=(9, 1, 12, 5)):
    """Whole sessions of trials: some without choice, outcome or stimulus, some too slow."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    table = {
        "subject": ["ann"] * n,
        "session": np.repeat([f"s{i}" for i in range(len(lengths))], lengths),
        "trial": np.concatenate([np.arange(length) for length in lengths]),
        "source_row": np.arange(n) + 1,
        "choice": rng.choice([0, 1, None], n, p=[0.4, 0.4, 0.2]).tolist(),
        "feedback": rng.choice([-1, 1, None], n, p=[0.45, 0.45, 0.1]).tolist(),
        "response_time": rng.choice([0.5, 2.0], n, p=[0.8, 0.2]),
        "block": rng.choice([0.5, 0.2], n, p=[0.7, 0.3]),
        "stimulus": rng.choice([1.0, -0.5, None], n, p=[0.45, 0.45, 0.1]).tolist(),
    }
    return pl.DataFrame(table, schema=trial_schema(TASK), strict=False)


def designed(trials, task=TASK):
    cleaned, _ = clean(trials, task)
    return build_design(cleaned, task), cleaned


def test_rows_are_the_chain_with_its_keys_and_columns_in_the_order_of_the_task():
    scaled = replace(TASK.regressors[0], scale=2.5)
    task = replace(TASK, regressors=(TASK.regressors[3], scaled, *TASK.regressors[1:3]))
    design, cleaned = designed(random_trials(), task)
    chain = cleaned.filter("in_chain")
    assert design.keys.equals(chain.select("session", "trial"))
    assert design.session_ids.tolist() == chain["session"].to_list()
    assert design.feature_names == ("wsls", "stimulus", "bias", "previous_choice")
    np.testing.assert_array_equal(design.prior_scales, [2, 10, 3, 2])
    np.testing.assert_array_equal(design.X[:, 1], chain["stimulus"].fill_null(0).to_numpy() * 2.5)
    np.testing.assert_array_equal(design.X[:, 2], 1)
    assert (design.X.dtype, design.y.dtype, design.mask.dtype) == (np.float64, np.int64, np.bool_)


def test_the_mask_is_true_where_a_choice_was_made_and_counts():
    design, cleaned = designed(random_trials())
    chain = cleaned.filter("in_chain")
    assert design.mask.tolist() == [
        c is not None and not m for c, m in zip(chain["choice"], chain["masked"], strict=True)
    ]
    assert design.y.tolist() == [
        c if ok else -1 for c, ok in zip(chain["choice"], design.mask, strict=True)
    ]
    assert 0 < (~design.mask).sum() < len(design.y)


def test_history_is_of_the_whole_recorded_session_not_of_the_chain():
    trials = random_trials()
    design, _ = designed(trials)
    choices = trials["choice"].cast(pl.Int64).fill_null(-1).to_numpy()
    feedback = trials["feedback"].cast(pl.Float64).fill_null(0).to_numpy()
    whole = {
        kind: history_columns(kind, choices, feedback, trials["session"].to_numpy(), 2, 0)[:, 0]
        for kind in ("previous_choice", "wsls")
    }
    at = trials.select("session", "trial").with_columns(**whole)
    expected = design.keys.join(at, on=["session", "trial"], how="left", maintain_order="left")
    for column, kind in ((2, "previous_choice"), (3, "wsls")):
        np.testing.assert_array_equal(design.X[:, column], expected[kind].to_numpy())
    assert len(design.keys) < len(trials)


@given(st.integers(0, 10**6))
def test_a_choice_never_changes_the_regressors_of_its_own_trial(seed):
    """Each choice is exchanged alone: nothing at or before it moves, nor another session."""
    trials = random_trials(seed)
    before, _ = designed(trials)
    row = int(np.random.default_rng(seed).integers(len(trials)))
    choice = trials["choice"].to_list()
    if choice[row] is None:
        return
    choice[row] = 1 - choice[row]
    after, _ = designed(trials.with_columns(pl.Series("choice", choice, dtype=pl.Int8)))
    session, trial = trials["session"][row], trials["trial"][row]
    later = (before.session_ids == session) & (before.keys["trial"].to_numpy() > trial)
    np.testing.assert_array_equal(after.X[~later], before.X[~later])
    np.testing.assert_array_equal(after.X[later][:, :2], before.X[later][:, :2])
    own = (before.session_ids == session) & (before.keys["trial"].to_numpy() == trial)
    np.testing.assert_array_equal(after.y[~own], before.y[~own])
    np.testing.assert_array_equal(after.mask, before.mask)


@given(st.integers(0, 10**6))
def test_flipping_masked_choices_changes_later_history_and_no_choice(seed):
    trials = random_trials(seed)
    before, cleaned = designed(trials)
    masked = cleaned.filter("masked").select("session", "trial", masked=True)
    flipped = (
        trials.join(masked, on=["session", "trial"], how="left", maintain_order="left")
        .with_columns(
            pl.when("masked").then(1 - pl.col("choice")).otherwise("choice").alias("choice")
        )
        .drop("masked")
    )
    after, _ = designed(flipped)
    np.testing.assert_array_equal(after.y, before.y)
    np.testing.assert_array_equal(after.mask, before.mask)
    np.testing.assert_array_equal(after.X[:, :2], before.X[:, :2])


def test_values_of_trials_without_a_choice_feed_nothing():
    trials = random_trials()
    before, _ = designed(trials)
    no_choice = pl.col("choice").is_null()
    other = trials.with_columns(
        feedback=pl.when(no_choice).then(-pl.col("feedback")).otherwise(pl.col("feedback"))
    )
    after, _ = designed(other)
    np.testing.assert_array_equal(after.X, before.X)


def test_removing_a_session_leaves_the_others_as_they_are():
    trials = random_trials()
    whole, _ = designed(trials)
    part, _ = designed(trials.filter(pl.col("session") != "s0"))
    stays = whole.session_ids != "s0"
    np.testing.assert_array_equal(part.X, whole.X[stays])
    np.testing.assert_array_equal(part.y, whole.y[stays])


def test_nothing_left_and_mixed_up_tables_are_refused():
    cleaned, _ = clean(random_trials(), TASK)
    with pytest.raises(InputError, match="no trial is left"):
        build_design(cleaned.clear(), TASK)
    with pytest.raises(InputError, match="subject ann: no trial is left"):
        build_design(cleaned.with_columns(in_chain=pl.lit(False)), TASK)
    other = cleaned.with_columns(subject=pl.lit("bob"))
    with pytest.raises(InputError, match="2 subjects"):
        build_design(pl.concat([cleaned, other]), TASK)
    with pytest.raises(InputError, match="session s0 do not stand together"):
        build_design(pl.concat([cleaned, cleaned.filter(session="s0")]), TASK)


def test_a_stored_design_comes_back_as_it_was(tmp_path):
    design, _ = designed(random_trials())
    renamed = replace(design, subject="小鼠", choice_names=("gauche", "droîte"))
    path = tmp_path / "new" / "design.npz"
    save_design(path, renamed)
    back = load_design(path)
    assert back.keys.equals(design.keys)
    assert (back.subject, back.choice_names) == ("小鼠", ("gauche", "droîte"))
    assert (back.feature_names, back.baseline_class_idx) == (design.feature_names, 0)
    for name in ("X", "y", "mask", "prior_scales"):
        stored, original = getattr(back, name), getattr(design, name)
        np.testing.assert_array_equal(stored, original, strict=True)
    assert [file.name for file in path.parent.iterdir()] == ["design.npz"]


@pytest.mark.parametrize("left", [-40, 100, 0])
def test_a_broken_design_file_is_named(tmp_path, left):
    path = tmp_path / "design.npz"
    save_design(path, designed(random_trials())[0])
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"design\.npz"):
        load_design(path)
    with pytest.raises(InputError, match="absent"):
        load_design(tmp_path / "absent.npz")
