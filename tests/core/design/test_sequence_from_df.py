"""Sequences from a data frame of one's own."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from glmhmm_core.design.build import build_design
from glmhmm_core.design.sequence import build_sequence_from_df, build_sequence_from_df_2afc
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.tasks.task import Regressor

DF = pl.DataFrame(
    {
        "animal": ["b", "b", "a", "b", "a"],
        "day": [1, 1, 1, 2, 2],
        "x": [0.5, -1.0, 2.0, 3.0, 4.0],
        "go": [True, False, True, True, False],
        "y": [1, None, 0, 2, -1],
    }
)


def build(df=DF, choice="y", features=("x", "go"), subject="animal", session="day"):
    return build_sequence_from_df(df, choice, list(features), subject, session)


def test_subjects_come_in_order_of_first_appearance_with_their_rows_in_order():
    inputs, choices, masks = build()
    np.testing.assert_array_equal(inputs[0], [[0.5, 1], [-1, 0], [3, 1]])
    np.testing.assert_array_equal(inputs[1], [[2, 1], [4, 0]])
    assert [c.tolist() for c in choices] == [[1, -1, 2], [0, -1]]
    assert [m.tolist() for m in masks] == [[True, False, True], [True, False]]
    assert (inputs[0].dtype, choices[0].dtype, masks[0].dtype) == (np.float64, np.int64, np.bool_)


def test_a_session_boundary_masks_no_trial():
    masks = build(DF.with_columns(y=pl.lit(1)))[2]
    assert all(mask.all() for mask in masks)


@pytest.mark.parametrize("choice", [[1.0, float("nan"), 0.0, 2.0, -1.0], [1, -2, 0, 2, -1]])
def test_nan_and_negative_choices_are_none(choice):
    assert [c.tolist() for c in build(DF.with_columns(y=pl.Series(choice)))[1]] == [
        [1, -1, 2],
        [0, -1],
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": pl.Series([0.5, 1, None, 1, 1])}, "subject a: column 'x' is nan at row 0"),
        ({"x": pl.Series([0.5, 1, float("inf"), 1, 1])}, "subject a: column 'x' is inf at row 0"),
        ({"x": pl.Series(["a"] * 5)}, "not numbers"),
        ({"y": pl.Series([0.5, 1, 1, 1, 1])}, "choice 0.5 at row 0"),
        ({"day": pl.Series([1, 2, 1, 1, 2])}, "session 1 do not stand together"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_row(changed, said):
    with pytest.raises(InputError, match=said):
        build(DF.with_columns(**changed))


def test_a_regressor_may_be_missing_where_no_choice_was_made():
    inputs = build(DF.with_columns(x=pl.Series([0.5, None, 1, 1, 1])))[0]
    np.testing.assert_array_equal(inputs[0], [[0.5, 1], [np.nan, 0], [1, 1]])


def test_a_missing_column_is_named_beside_those_that_are_there():
    with pytest.raises(InputError, match=r"'contrast'.*animal, day, x"):
        build(features=("contrast",))


def test_another_kind_of_table_is_named():
    with pytest.raises(InputError, match="a dict is no Polars data frame"):
        build(DF.to_dict())


SIDES = pl.DataFrame(
    {
        "animal": ["b", "b", "b", "a", "b", "b", "b"],
        "day": [1, 1, 1, 1, 2, 2, 2],
        "L": [0.5, None, 0.25, 1.0, float("nan"), 0.0, 0.0],
        "R": [None, 1.0, 0.5, 0.0, 0.125, 0.0, 0.0],
        "y": [1, None, 0, 1, 0, 1, 1],
    }
)


def two(df=SIDES, lags=2):
    return build_sequence_from_df_2afc(df, "y", "L", "R", "animal", "day", lags)


def test_signed_contrast_and_previous_choices_start_anew_in_every_session():
    inputs, choices, masks = two()
    expected = [
        [-0.5, 0, 0],
        [1.0, 1, 0],
        [0.25, 1, 0],  # the trial without a choice is passed over
        [0.125, 0, 0],
        [0, -1, 0],
        [0, 1, -1],
    ]
    np.testing.assert_array_equal(inputs[0], expected)
    np.testing.assert_array_equal(inputs[1], [[-1, 0, 0]])
    assert choices[0].tolist() == [1, -1, 0, 0, 1, 1]
    assert masks[0].tolist() == [True, False, True, True, True, True]


def test_history_is_that_of_the_task_s_lags():
    task = replace(
        load_task("two_afc"), regressors=(Regressor("choice_lags", "lag", 2.0, count=3),)
    )
    rng = np.random.default_rng(0)
    y = rng.choice([0, 1, -1], 60)
    mine = pl.DataFrame(
        {"animal": "a", "day": np.repeat(["d1", "d2", "d3"], 20), "L": 0.0, "R": 1.0, "y": y}
    )
    cleaned = mine.select(
        subject="animal",
        session="day",
        trial=pl.int_range(60),
        choice=pl.when(pl.col("y") >= 0).then("y"),
        feedback=pl.lit(1),
        in_chain=pl.lit(True),
        masked=pl.lit(False),
    )
    inputs, _, _ = two(mine, 3)
    np.testing.assert_array_equal(inputs[0][:, 1:], build_design(cleaned, task).X)
    np.testing.assert_array_equal(two(mine, 0)[0][0], inputs[0][:, :1])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"y": pl.Series([1, 2, 0, 1, 0, 1, 1])}, "subject b: choice 2 at row 1"),
        ({"L": pl.Series([None] * 7, dtype=pl.Float64)}, "both contrasts are missing at row 0"),
        ({"L": pl.Series(["0.5"] * 7)}, "not numbers"),
    ],
)
def test_what_is_no_choice_between_two_sides_is_named(changed, said):
    with pytest.raises(InputError, match=said):
        two(SIDES.with_columns(**changed))


def test_fewer_than_no_lags_are_refused():
    with pytest.raises(InputError, match="history_lags is -1"):
        two(lags=-1)
