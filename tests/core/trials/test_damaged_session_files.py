"""A short run of the campaign with damaged session files."""

import pytest
from campaigns.session_files import RIGHT, outcome_of


@pytest.mark.parametrize("kind", range(4), ids=["csv", "parquet", "npy", "table"])
def test_a_damaged_file_is_read_or_named_and_costs_no_other(kind):
    for seed in range(kind, 60, 4):
        outcome, what = outcome_of(seed)
        assert outcome in RIGHT, f"seed {seed}, {what}"
