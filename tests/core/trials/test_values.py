"""Values of files: numbers, codes and text, against plain Python."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.trials.values import to_classes, to_numbers, to_text

WORDS = st.sampled_from(
    ["", "NA", "nan", "None", " 1", "1.0", "x", "1e3", "-2", "true", "inf", "0x1"]
)


def as_python(text: str | None) -> float | str | None:
    """The same by Python: a number, None for missing, the text itself for anything else."""
    if text is None or text.strip().lower() in ("", "na", "n/a", "nan", "null", "none"):
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def floats(values):
    return np.array(list(values), dtype=np.float64)


@given(st.lists(st.none() | WORDS | st.floats().map(str)))
def test_numbers_from_text_are_those_of_python(texts):
    expected = [as_python(text) for text in texts]
    values, first_bad = to_numbers(pl.Series(texts, dtype=pl.String))
    bad = [row for row, value in enumerate(expected) if isinstance(value, str)]
    assert first_bad == (bad[0] if bad else None)
    np.testing.assert_array_equal(
        values, floats(None if isinstance(v, str) else v for v in expected)
    )


@given(st.lists(st.none() | st.floats()))
def test_numbers_stay_and_what_is_not_finite_is_unknown(numbers):
    values, first_bad = to_numbers(pl.Series(numbers, dtype=pl.Float64))
    assert first_bad is None
    expected = [None if n is None or not math.isfinite(n) else n for n in numbers]
    np.testing.assert_array_equal(values, floats(expected))


@pytest.mark.parametrize("column", [pl.Series([[1]]), pl.Series([{"a": 1}]), pl.Series([b"1"])])
def test_what_is_no_number_at_all_is_bad_from_its_first_row(column):
    assert to_numbers(column).first_bad == 0


CODES = {-1.0: 1, 1.0: 0, 0.0: None, "L": 0}


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([1, -1, 0, None], dtype=pl.Int64),
        pl.Series([1.0, -1.0, 0.0, float("nan")]),
        pl.Series(["1", " -1.0 ", "0", "NaN"]),
        pl.Series(["L", "-1", "false", ""]),
    ],
)
def test_codes_are_met_in_every_form_a_file_may_write_them(column):
    values, first_bad = to_classes(column, CODES)
    np.testing.assert_array_equal(values, [0, 1, np.nan, np.nan])
    assert first_bad is None


def test_truth_values_are_the_codes_0_and_1():
    np.testing.assert_array_equal(
        to_classes(pl.Series([True, False]), {1.0: 1, 0.0: 0}).values, [1, 0]
    )


@given(st.lists(st.sampled_from(["1", "-1", "0", "2", "R", "", "1.5"])))
def test_the_first_unknown_code_is_found(codes):
    known = {"1", "-1", "0", ""}
    bad = [row for row, code in enumerate(codes) if code not in known]
    assert to_classes(pl.Series(codes, dtype=pl.String), CODES).first_bad == (
        bad[0] if bad else None
    )


def test_text_is_trimmed_and_missing_words_are_null():
    column = pl.Series([" saline ", "NA", None, "Saline"])
    assert to_text(column).to_list() == ["saline", None, None, "Saline"]
    assert to_text(pl.Series([1.5])).to_list() == ["1.5"]
