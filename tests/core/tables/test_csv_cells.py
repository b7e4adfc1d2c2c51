"""CSV files for other programs."""

import polars as pl
import pytest

from glmhmm_core.tables.export import write_csv


def written(table: pl.DataFrame, folder) -> pl.DataFrame:
    write_csv(table, folder / "t.csv")
    return pl.read_csv(folder / "t.csv", infer_schema=False)


@pytest.mark.parametrize("cell", ["=1+1", "+a", "-a", "@SUM(A1)", "\t=1", "\r=1", "-1+cmd"])
def test_text_that_a_spreadsheet_would_compute_is_marked(tmp_path, cell):
    assert written(pl.DataFrame({"name": [cell]}), tmp_path)["name"].to_list() == [f"'{cell}"]


@pytest.mark.parametrize("cell", ["a=b", "mouse-1", "-1.5", "+2e-3", "", None])
def test_other_text_is_written_as_it_is(tmp_path, cell):
    table = pl.DataFrame({"name": [cell], "x": [1]}, {"name": pl.String, "x": pl.Int64})
    assert written(table, tmp_path)["name"].to_list() == [cell]


def test_numbers_stay_numbers(tmp_path):
    assert written(pl.DataFrame({"x": [-1.5, -2.0]}), tmp_path)["x"].to_list() == ["-1.5", "-2.0"]


def test_categories_and_headers_are_text_too(tmp_path):
    table = pl.DataFrame({"=x": pl.Series(["=1"], dtype=pl.Categorical)})
    assert written(table, tmp_path).to_dict(as_series=False) == {"'=x": ["'=1"]}
