"""Tables of trust: states by their names, and a cohort's checks by hand."""

import numpy as np
import polars as pl
import pytest
from core.synthetic_fits import IBL, make_subject, permuted, simulate
from scipy.stats import binomtest

from glmhmm_core.comparison.predictive_checks import CHECK_SCHEMA
from glmhmm_core.tables.validity import COHORT_CHECK_SCHEMA, cohort_checks, sign_test, with_states

CLEANED, _ = simulate(IBL, 4, 60, seed=3)


def checks(subject, share, simulated, fails):
    row = ("share_switching", None, None, share, simulated, 0.0, 1.0, 0.5, fails, [simulated])
    table = pl.DataFrame([row], schema=CHECK_SCHEMA, orient="row")
    return table.with_columns(subject=pl.lit(subject), num_states=pl.lit(3, pl.Int64))


def test_states_have_the_names_of_their_weights_whatever_their_numbers():
    table = pl.DataFrame({"statistic": list("abcd"), "state_idx": [None, 2, 0, 1], "x": [1.0] * 4})
    for order in ([0, 1, 2], [2, 0, 1]):
        fits = make_subject(CLEANED, [permuted(IBL, order)], n_folds=0)
        named = with_states(table, fits, 3)
        names = dict(zip(named["state_idx"], named["state_label"], strict=True))
        expected = ["engaged", "biased left", "biased right"]
        assert [names[k] for k in np.argsort(order)] == expected
        assert named["state_label"][0] is None
        assert named["statistic"].to_list() == list("abcd")
        assert named.columns[:2] == ["subject", "num_states"]
        assert named["subject"].unique().to_list() == [fits.subject]


def test_a_cohort_s_check_is_over_subjects_and_counts_them():
    made = [
        checks("a", 0.7, 0.9, True),
        checks("b", 0.8, 0.9, False),
        checks("c", 0.9, 0.8, False),
        checks("d", 0.8, None, None),  # nothing could be simulated
    ]
    table = cohort_checks(made)
    assert dict(table.schema) == COHORT_CHECK_SCHEMA
    row = table.row(0, named=True)
    difference = np.array([-0.2, -0.1, 0.1])
    assert row["subjects"] == 3
    assert row["data"] == pytest.approx(0.8)
    assert row["simulated"] == pytest.approx(2.6 / 3)
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["difference_se"] == pytest.approx(difference.std(ddof=1) / np.sqrt(3))
    assert (row["below"], row["failing"], row["p_value"]) == (2, 1, 1.0)
    assert cohort_checks(made[:1])["difference_se"].to_list() == [None]


def test_the_sign_test_is_the_binomial_one():
    for n in (1, 6, 37):
        for k in range(n + 1):
            assert sign_test(k, n) == pytest.approx(binomtest(k, n).pvalue)
