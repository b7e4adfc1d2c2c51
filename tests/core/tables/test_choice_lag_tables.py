"""Lag weights and their kernels, keyed by subject; which column is which lag is the task's word."""

import numpy as np
import polars as pl
import pytest
from core.lagged_weights import LAGS, lag_task, tau_of, with_lags
from core.plots.cases import cohort, ugly
from polars.testing import assert_frame_equal

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.uncertainty import Z
from glmhmm_core.tables.choice_lags import (
    LAG_KERNEL_SCHEMA,
    LAG_WEIGHT_SCHEMA,
    lag_kernel_table,
    lag_weight_table,
)
from glmhmm_core.tasks.load import load_task

KEY = ["subject", "num_states", "state_idx"]


def two_choices():
    names = {"CSHL_000": "lab_a_07", "CSHL_001": "lab_b_07", "CSHL_002": "flat"}
    weights = cohort(3).weights.filter(pl.col("num_states") <= 3)
    return with_lags(weights.with_columns(pl.col("subject").replace(names)), lag_task())


def test_every_lag_of_every_state_has_a_row():
    weights = two_choices()
    table = lag_weight_table(weights, lag_task())
    assert table.schema == pl.Schema(LAG_WEIGHT_SCHEMA)
    assert table.height == weights.select(KEY).n_unique() * len(LAGS)
    assert table["earlier"].null_count() == table["se"].null_count() == table.height
    joined = table.with_columns(feature=pl.format("past_{}", "lag"))
    same = joined.join(weights, on=[*KEY, "feature"], suffix="_there")
    assert same.height == table.height
    assert same["weight"].equals(same["weight_there"])


def test_each_subject_has_its_own_time_constant_and_a_flat_one_is_told():
    kernels = lag_kernel_table(lag_weight_table(two_choices(), lag_task()))
    assert kernels.schema == pl.Schema(LAG_KERNEL_SCHEMA)
    assert kernels.select(KEY).is_unique().all()
    assert set(kernels["subject"]) == {"lab_a_07", "lab_b_07", "flat"}
    for row in kernels.iter_rows(named=True):
        assert row["success"] == (row["subject"] != "flat") == (row["message"] is None)
        if row["success"]:
            assert row["tau"] == pytest.approx(tau_of(row["subject"], row["state_rank"]))
            assert row["half_life"] == pytest.approx(row["tau"] * np.log(2))
            assert row["scale"] == pytest.approx(2.0)
            assert row["num_lags"] == len(LAGS)


def test_the_order_of_rows_is_of_no_consequence():
    weights = two_choices()
    mixed = weights.sample(fraction=1, shuffle=True, seed=3)
    one, other = (lag_kernel_table(lag_weight_table(w, lag_task())) for w in (weights, mixed))
    assert_frame_equal(one.sort(KEY), other.sort(KEY), rel_tol=1e-6)


@pytest.mark.parametrize("baseline", [0, 2])
def test_three_choices_share_a_time_constant_and_have_scales_of_their_own(baseline):
    task = lag_task(("left", "center", "right"), baseline)
    weights = ugly().weights.filter(num_states=5)
    shown = [name for c, name in enumerate(task.choices) if c != baseline]
    classes = weights["class_idx"].unique().sort().to_list()
    names = pl.col("class_idx").replace_strict(dict(zip(classes, shown, strict=True)))
    weights = with_lags(weights.with_columns(class_name=names), task)
    kernels = lag_kernel_table(lag_weight_table(weights, task))
    assert kernels.height == 5 * 2 * 2
    assert set(kernels["earlier"]) == set(shown)
    for row in kernels.iter_rows(named=True):
        assert row["tau"] == pytest.approx(tau_of(row["subject"], row["state_rank"]))
        same = row["class_name"] == row["earlier"]
        assert row["scale"] == pytest.approx(2.0 if same else -0.5)


def test_standard_errors_weigh_and_lags_without_one_do_not_count():
    weights = two_choices().filter(subject="lab_a_07", num_states=1)
    half = Z * pl.when(pl.col("feature") == "past_3").then(None).otherwise(0.1)
    spoiled = weights.with_columns(
        weight=pl.when(pl.col("feature") == "past_3").then(50.0).otherwise("weight")
    )
    known = spoiled.with_columns(lower=pl.col("weight") - half, upper=pl.col("weight") + half)
    table = lag_weight_table(known, lag_task())
    np.testing.assert_allclose(table["se"].drop_nulls(), 0.1)
    (row,) = lag_kernel_table(table).to_dicts()
    assert row["weighted"]
    assert row["tau"] == pytest.approx(tau_of("lab_a_07", 0))
    assert row["tau_lower"] < row["tau"] < row["tau_upper"]
    (plain,) = lag_kernel_table(lag_weight_table(spoiled, lag_task())).to_dicts()
    assert not plain["weighted"]
    assert plain["tau_lower"] is None
    assert plain["r2"] < 0.9


def test_a_task_without_lags_is_named():
    with pytest.raises(InputError, match="task two_afc: no regressor is of lags"):
        lag_weight_table(two_choices(), load_task("two_afc"))
