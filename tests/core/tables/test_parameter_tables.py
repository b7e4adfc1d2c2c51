"""Weights, transitions and states in long form: every number where its names say."""

import numpy as np
import polars as pl
import pytest
from core.synthetic_fits import FEATURES, IBL, make_subject, permuted, simpler, simulate
from polars.testing import assert_frame_equal

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.tables.parameters import (
    START,
    STATE_SCHEMA,
    TRANSITION_SCHEMA,
    WEIGHT_SCHEMA,
    state_table,
    transition_table,
    weight_table,
)

CLEANED, _ = simulate(IBL, 6, 60, seed=5)
MODELS = [simpler(IBL, 1), IBL, simpler(IBL, 4)]
FITS = make_subject(CLEANED, MODELS, n_folds=2, n_restarts=3)
LABELS = ("engaged", "biased left", "biased right")


def test_every_weight_stands_under_its_names():
    table = weight_table(FITS)
    assert dict(table.schema) == WEIGHT_SCHEMA
    assert table.height == (1 + 3 + 4) * len(FEATURES)
    for k, label in enumerate(LABELS):
        for m, feature in enumerate(FEATURES):
            row = table.filter(num_states=3, state_label=label, feature=feature)
            assert row["weight"].item() == IBL.emission_weights[k, 0, m]
            assert row["state_idx"].item() == k
    assert table["class_name"].unique().to_list() == ["right"]
    assert table["baseline_class_name"].unique().to_list() == ["left"]


@pytest.mark.parametrize("baseline", [0, 1, 2])
def test_weights_of_three_choices_name_class_and_baseline(baseline):
    names = ("left", "center", "right")
    rng = np.random.default_rng(0)
    params = Parameters(np.ones(2) / 2, np.full((2, 2), 0.5), rng.normal(size=(2, 2, 4)))
    fits = make_subject(CLEANED, [params], choice_names=names, baseline=baseline, n_folds=2)
    table = weight_table(fits)
    others = [c for c in range(3) if c != baseline]
    assert table["class_idx"].unique().sort().to_list() == others
    assert table["baseline_class_name"].unique().to_list() == [names[baseline]]
    for row, c in enumerate(others):
        part = table.filter(state_idx=1, class_name=names[c])
        np.testing.assert_array_equal(part["weight"].to_numpy(), params.emission_weights[1, row])


def test_every_transition_stands_under_its_names_and_rows_sum_to_one():
    table = transition_table(FITS)
    assert dict(table.schema) == TRANSITION_SCHEMA
    for i, source in enumerate(LABELS):
        for j, target in enumerate(LABELS):
            row = table.filter(num_states=3, source_label=source, target_label=target)
            assert row["probability"].item() == IBL.transition_matrix[i, j]
    start = table.filter(num_states=3, source_label=START).sort("target_idx")
    np.testing.assert_array_equal(start["probability"].to_numpy(), IBL.initial_probs)
    assert start["source_idx"].is_null().all()
    sums = table.group_by("num_states", "source_label").agg(pl.col("probability").sum())
    np.testing.assert_allclose(sums["probability"].to_numpy(), 1)


def test_states_have_their_occupancy_and_dwell():
    table = state_table(FITS)
    assert dict(table.schema) == STATE_SCHEMA
    fit = FITS[3]
    three = table.filter(num_states=3).sort("state_idx")
    np.testing.assert_allclose(three["occupancy_soft"], fit.smoothed_state_probs.mean(0))
    decoded = fit.smoothed_state_probs.argmax(1)
    np.testing.assert_allclose(three["occupancy_hard"], [(decoded == k).mean() for k in range(3)])
    np.testing.assert_allclose(three["expected_dwell"], [38.9105, 19.1939, 20.7469], rtol=1e-5)
    assert three["state_label"].to_list() == list(LABELS)
    assert three["state_rank"].to_list() == [0, 1, 2]
    alone = table.filter(num_states=1)
    assert alone["expected_dwell"].to_list() == [None]
    assert alone["state_label"].to_list() == ["GLM"]


def test_expected_dwell_is_the_mean_run_of_a_long_chain():
    rng = np.random.default_rng(0)
    stay = IBL.transition_matrix[1, 1]
    runs = rng.geometric(1 - stay, 200_000)
    dwell = state_table(FITS).filter(num_states=3, state_idx=1)["expected_dwell"].item()
    assert abs(dwell - runs.mean()) < 4 * runs.std() / np.sqrt(len(runs))


def test_a_state_that_is_never_the_most_probable_is_still_there():
    fit = FITS[3]
    never = Parameters(
        np.array([0.9, 0.1]),
        np.array([[0.99, 0.01], [0.99, 0.01]]),
        fit.fitted_params.emission_weights[:2],
    )
    fits = make_subject(CLEANED, [never], n_folds=2, n_restarts=2)
    table = state_table(fits)
    assert table.height == 2
    assert table.filter(state_idx=1)["occupancy_hard"].item() < 0.02
    assert table["state_label"].to_list() == ["engaged", "biased left"]


@pytest.mark.parametrize("make", [weight_table, transition_table, state_table])
def test_tables_are_the_same_but_for_indices_when_states_are_renumbered(make):
    moved = make_subject(CLEANED, [permuted(IBL, [1, 2, 0])], n_folds=2, n_restarts=3)
    plain = make_subject(CLEANED, [IBL], n_folds=2, n_restarts=3)
    indices = ["state_idx", "source_idx", "target_idx"]
    assert_frame_equal(
        make(moved).drop(indices, strict=False), make(plain).drop(indices, strict=False)
    )


def test_ambiguous_labels_come_with_their_reason():
    odd = IBL._replace(emission_weights=IBL.emission_weights * [[[0.1, 1, 1, 1]]])
    fits = make_subject(CLEANED, [odd], n_folds=2, n_restarts=2)
    for table, column in (
        (state_table(fits), "label_reason"),
        (weight_table(fits), "label_reason"),
    ):
        assert "No state is engaged" in table[column][0]
    assert state_table(fits)["labels_ambiguous"].all()
    assert not state_table(FITS).filter(num_states=3)["labels_ambiguous"].any()
