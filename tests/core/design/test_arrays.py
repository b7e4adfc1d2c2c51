"""Arrays as users give them: lists, columns of data frames, masked arrays."""

import numpy as np
import polars as pl
import pytest

from glmhmm_core.design.arrays import classes, flags, labels, numbers
from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError

pd = pytest.importorskip("pandas")
MASKED = np.ma.array([1, 0, 1], mask=[False, False, True])

#: The same three choices in every form; the last is none in those that can say so.
WHOLE = {
    "list": [1, 0, 1],
    "integer-valued floats": np.array([1.0, 0.0, 1.0]),
    "booleans": [True, False, True],
    "a column": np.array([[1], [0], [1]]),
    "a pandas column": pd.Series([1, 0, 1], index=[7, 8, 9]),
    "a pandas frame of one column": pd.DataFrame({"choice": [1, 0, 1]}),
    "a polars column": pl.Series([1, 0, 1]),
    "unsigned": np.array([1, 0, 1], np.uint8),
}


@pytest.mark.parametrize("values", WHOLE.values(), ids=WHOLE)
def test_choices_of_every_form_are_the_same(values):
    found, counted = classes("y", values, None, "here")
    assert found.tolist() == [1, 0, 1]
    assert (found.dtype, counted.all()) == (np.int64, True)


@pytest.mark.parametrize(
    "values",
    [MASKED, MASKED[:, None], MASKED.astype(float), [1, 0, np.ma.masked]],
    ids=["integers", "a column", "floats", "a list"],
)
def test_what_numpy_masks_does_not_count(values):
    found, counted = classes("y", values, None, "here")
    assert found.tolist() == [1, 0, -1]
    assert counted.tolist() == [True, True, False]


def test_both_masks_count():
    counted = classes("y", MASKED, [False, True, True], "here")[1]
    assert counted.tolist() == [False, True, False]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, None, 0], dtype="Int64"),
        pl.Series([1, None, 0]),
        [1, None, 0],
        np.array([1, np.nan, 0]),
        np.array([1, np.inf, 0]),
    ],
)
def test_a_missing_choice_that_nobody_masked_is_refused(values):
    with pytest.raises(InputError, match="mark a missing choice in the mask"):
        classes("y", values, None, "here")


@pytest.mark.parametrize(
    "values",
    [
        np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]]),
        [np.ma.array([1.0, 2.0], mask=[False, True]), np.array([3.0, 4.0])],
        pd.DataFrame({"a": [1.0, 3.0], "b": [None, 4.0]}),
        pl.DataFrame({"a": [1, 3], "b": [None, 4]}),
    ],
)
def test_a_missing_number_is_nan(values):
    np.testing.assert_array_equal(numbers("X", values, "here"), [[1, np.nan], [3, 4]])


@pytest.mark.parametrize(
    "values",
    [["left"], np.array(["1"]), np.array([1j]), np.array(["2024-01-01"], "M8[D]"), [[1], [1, 2]]],
)
def test_what_is_no_number_is_refused_by_name(values):
    with pytest.raises(InputError, match="X holds what is no number"):
        numbers("X", values, "here")


@pytest.mark.parametrize("values", [[1, 0, 2], [1.0, np.nan, 0.0], [-1, 1, 1]])
def test_a_mask_is_true_or_false(values):
    with pytest.raises(InputError, match="mask is"):
        flags("mask", values, "here")


def test_a_mask_may_be_a_column_of_a_data_frame():
    given = pd.Series([True, False], dtype="boolean")
    assert flags("mask", given, "here").tolist() == [True, False]


@pytest.mark.parametrize(
    "values",
    [
        np.ma.array(["a", "b"], mask=[False, True]),
        pd.Series(["a", None], dtype="string"),
        pl.Series(["a", None]),
    ],
)
def test_a_missing_name_is_none(values):
    assert labels("session_ids", values, "here").tolist() == ["a", None]


def test_a_design_takes_masked_arrays():
    keys = pl.DataFrame({"session": ["s"] * 3, "trial": [0, 1, 2]})
    X = np.array([[1.0], [2.0], [np.nan]])
    design = Design("a", keys, X, MASKED, np.ones(3, bool), ("x",), ("l", "r"), 0, np.ones(1))
    assert design.y.tolist() == [1, 0, -1]
    assert design.mask.tolist() == [True, True, False]
    assert design.X.ravel().tolist() == [1, 2, 0]
