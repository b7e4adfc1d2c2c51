"""The number of states: the rule on scores made by hand, and what must not change it."""

import math

import numpy as np
import polars as pl
import pytest
from core.synthetic_fits import IBL, make_subject, simpler, simulate
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from glmhmm_core.comparison.selection import (
    SELECTION_SCHEMA,
    SelectionRule,
    choose_for_cohort,
    choose_for_subject,
    choose_over_splits,
)
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.tables.cohort import cohort_summary

#: Published gains of each next state and their standard errors over 37 mice.
PUBLISHED = ((0.1261, 0.01), (0.0222, 0.0020), (0.0067, 0.0008), (0.0016, 0.0004))
MICE = 37


def exactly(mean, error, n, rng):
    """``n`` numbers of this mean and standard error of the mean."""
    z = rng.normal(size=n)
    z = (z - z.mean()) / z.std(ddof=1)
    return mean + error * math.sqrt(n) * z


def cohort(gains, n=MICE, seed=0, **columns):
    """Scores of ``n`` subjects whose paired gains have these means and standard errors."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0.3, 0.1, n)  # subjects differ far more than models do
    scores = [level]
    for mean, error in gains:
        scores.append(scores[-1] + exactly(mean, error, n, rng))
    rows = [
        {"subject": f"m{i:02d}", "num_states": k + 1, "heldout_bits_per_trial": score[i]}
        | {name: values[k] for name, values in columns.items()}
        for k, score in enumerate(scores)
        for i in range(n)
    ]
    return pl.DataFrame(rows)


def test_the_smallest_number_whose_next_state_gains_too_little():
    chosen = choose_for_cohort(cohort(PUBLISHED))
    assert chosen.num_states == 3
    assert not chosen.exploratory
    assert not chosen.at_limit
    table = chosen.table
    assert dict(table.schema) == SELECTION_SCHEMA
    np.testing.assert_allclose(table["next_gain"][:-1], [g for g, _ in PUBLISHED])
    np.testing.assert_allclose(table["next_gain_se"][:-1], [e for _, e in PUBLISHED], rtol=1e-6)
    assert table["chosen"].to_list() == [False, False, True, False, False]
    assert "0.0067" in chosen.reason
    assert "less than 0.01" in chosen.reason


def test_the_best_score_and_the_criteria_do_not_choose():
    # Five states score best in nearly every mouse, and both criteria prefer them.
    scores = cohort(PUBLISHED, aic=[5, 4, 3, 2, 1], bic=[5, 4, 3, 2, 1])
    best = scores.sort("heldout_bits_per_trial").group_by("subject").last()
    assert (best["num_states"] == 5).mean() > 0.5
    chosen = choose_for_cohort(scores)
    assert chosen.num_states == 3
    assert chosen.table["bic"].to_list() == [5, 4, 3, 2, 1]
    turned = scores.with_columns(aic=-pl.col("aic"), bic=-pl.col("bic"))
    assert choose_for_cohort(turned).num_states == 3


def test_errors_are_paired():
    # Levels differ between subjects by .1; unpaired, a gain of .02 would be within the error.
    scores = cohort([(0.02, 0.002), (0.0, 0.002)], n=8)
    level = scores.filter(num_states=1)["heldout_bits_per_trial"].std() / math.sqrt(8)
    assert 2 * level > 0.02
    assert choose_for_cohort(scores).num_states == 2


@pytest.mark.parametrize(
    ("gain", "error", "expected"),
    [(0.03, 0.016, 1), (0.03, 0.014, 2), (0.0099, 0.001, 1), (0.0101, 0.001, 2)],
)
def test_both_thresholds_hold(gain, error, expected):
    assert choose_for_cohort(cohort([(gain, error)], n=10)).num_states == expected


def test_a_gain_is_asked_of_every_added_state():
    scores = cohort([(0.05, 0.001), (0.015, 0.001)], n=10)
    skipped = scores.with_columns(pl.col("num_states").replace({3: 4}))
    assert choose_for_cohort(scores).num_states == 3
    assert choose_for_cohort(skipped).num_states == 2


def test_the_rule_is_the_caller_s():
    scores = cohort(PUBLISHED)
    assert choose_for_cohort(scores, SelectionRule(min_gain=0.005)).num_states == 4
    assert choose_for_cohort(scores, SelectionRule(min_gain=0.03)).num_states == 2


def test_the_largest_number_is_a_bound():
    chosen = choose_for_cohort(cohort(PUBLISHED[:2]))
    assert chosen.num_states == 3
    assert chosen.at_limit
    assert "most that were fitted" in chosen.reason


def test_a_later_gain_is_told():
    chosen = choose_for_cohort(cohort([(0.001, 0.001), (0.05, 0.001)]))
    assert chosen.num_states == 1
    assert "3 states" in chosen.reason


@pytest.mark.parametrize(
    ("column", "values"), [("min_occupancy", [1, 0.3, 0.04]), ("min_dwell", [None, 20.0, 2.5])]
)
def test_a_state_that_is_hardly_visited_is_not_added(column, values):
    chosen = choose_for_cohort(cohort(PUBLISHED[:2], **{column: values}))
    assert chosen.num_states == 2
    assert chosen.table["floors_met"].to_list() == [True, True, False]
    assert "median subject" in chosen.reason


def test_few_subjects_below_a_floor_do_not_decide():
    low = pl.when(pl.col("subject") < "m10").then(0.01).otherwise(0.2)
    assert choose_for_cohort(cohort(PUBLISHED).with_columns(min_occupancy=low)).num_states == 3


def test_a_fit_that_did_not_converge_is_left_out_by_name():
    scores = cohort(PUBLISHED[:2], n=6, converged=[True, True, True])
    bad = (pl.col("subject") == "m03") & (pl.col("num_states") == 2)
    scores = scores.with_columns(
        converged=~bad,
        heldout_bits_per_trial=pl.when(bad).then(9.0).otherwise("heldout_bits_per_trial"),
    )
    chosen = choose_for_cohort(scores)
    assert chosen.left_out.rows() == [("m03", 2, "the fit did not converge")]
    assert chosen.table["units"].to_list() == [6, 5, 6]
    assert chosen.table["paired_units"].to_list()[:2] == [5, 5]
    rest = cohort(PUBLISHED[:2], n=6).filter(pl.col("subject") != "m03")
    np.testing.assert_allclose(
        chosen.table["next_gain"][0], choose_for_cohort(rest).table["next_gain"][0]
    )


def test_missing_scores_are_named():
    scores = cohort(PUBLISHED[:2], n=6)
    gone = (pl.col("subject") == "m01") & (pl.col("num_states") == 3)
    value = pl.when(gone).then(None).otherwise("heldout_bits_per_trial")
    chosen = choose_for_cohort(scores.with_columns(heldout_bits_per_trial=value))
    assert chosen.left_out.rows() == [("m01", 3, "no held-out score")]


def test_the_cohort_summary_is_taken_as_it_is():
    trials = [simulate(IBL, 4, 40, seed=s, subject=f"m{s}")[0] for s in range(2)]
    models = [simpler(IBL, 1), simpler(IBL, 2), IBL]
    fits = [make_subject(t, models, subject=f"m{s}") for s, t in enumerate(trials)]
    summary = cohort_summary(fits, [Excluded("m9", "one session")])
    chosen = choose_for_cohort(summary)
    assert ("m9", None, "one session") in chosen.left_out.rows()
    assert chosen.table["num_states"].to_list() == [1, 2, 3]
    for column in ("min_occupancy", "min_dwell", "aic", "bic"):
        assert chosen.table[column].null_count() <= 1  # one state is never left


def test_the_bootstrap_is_over_subjects():
    scores = cohort([(0.1, 0.01), (0.011, 0.004)], n=20)
    chosen = choose_for_cohort(scores)
    table = chosen.table
    assert table["chosen_share"].sum() == pytest.approx(1)
    assert table["chosen_share"][0] == 0
    assert 0.2 < table["chosen_share"][1] < 0.8
    half = (table["next_gain_upper"] - table["next_gain_lower"])[:-1] / 2
    np.testing.assert_allclose(half, 1.96 * np.array([0.01, 0.004]), rtol=0.15)
    assert_frame_equal(choose_for_cohort(scores).table, table)


@given(st.randoms())
def test_order_of_rows_and_level_of_a_subject_do_not_matter(random):
    scores = cohort(PUBLISHED, n=5)
    order = list(range(scores.height))
    random.shuffle(order)
    shift = {f"m{i:02d}": random.uniform(-1, 1) for i in range(5)}
    level = pl.col("subject").replace_strict(shift, return_dtype=pl.Float64)
    moved = scores[order].with_columns(pl.col("heldout_bits_per_trial") + level)
    rule = SelectionRule(resamples=50)
    columns = ["num_states", "next_gain", "next_gain_se", "chosen", "chosen_share"]
    assert_frame_equal(
        choose_for_cohort(moved, rule).table.select(columns),
        choose_for_cohort(scores, rule).table.select(columns),
        rel_tol=1e-6,
    )


def test_splits_stand_side_by_side():
    table = choose_over_splits([cohort(PUBLISHED, seed=s) for s in range(2)])
    assert table["split"].to_list() == [0, 1]
    assert table["num_states"].to_list() == [3, 3]


def sessions(gains, errors, lengths, seed=0):
    """Held-out log-likelihoods of one subject's sessions; gains in bits per trial."""
    rng = np.random.default_rng(seed)
    bits = [-lengths * rng.normal(0.6, 0.2, len(lengths))]
    for gain, error in zip(gains, errors, strict=True):
        bits.append(bits[-1] + lengths * exactly(gain, error, len(lengths), rng))
    return pl.DataFrame(
        [
            {
                "subject": "m",
                "session": f"s{i}",
                "num_states": k + 1,
                "num_choices": int(n),
                "heldout_log_likelihood": b[i] * math.log(2),
            }
            for k, b in enumerate(bits)
            for i, n in enumerate(lengths)
        ]
    )


def test_a_subject_s_own_number_is_exploratory():
    chosen = choose_for_subject(sessions([0.1, 0.02], [0.01, 0.02], np.full(30, 90)))
    assert chosen.num_states == 2
    assert chosen.exploratory
    assert "Exploratory" in chosen.reason
    np.testing.assert_allclose(chosen.table["next_gain"][:-1], [0.1, 0.02])
    np.testing.assert_allclose(chosen.table["next_gain_se"][:-1], [0.01, 0.02], rtol=1e-6)


def test_trials_count_alike_and_errors_are_those_of_a_ratio():
    lengths = np.array([50, 100, 400, 250])
    scores = sessions([0.1], [0.05], lengths, seed=3)
    table = choose_for_subject(scores).table
    nats = scores["heldout_log_likelihood"].to_numpy().reshape(2, -1)
    change = (nats[1] - nats[0]) / math.log(2)
    ratio = change.sum() / lengths.sum()
    residual = change - ratio * lengths
    assert table["next_gain"][0] == pytest.approx(ratio)
    error = math.sqrt(4 / 3 * (residual**2).sum()) / lengths.sum()
    assert table["next_gain_se"][0] == pytest.approx(error)
    # Had sessions counted alike, the gain would be another.
    assert abs((change / lengths).mean() - ratio) > 1e-3


def test_sessions_without_a_choice_are_passed_over():
    scores = sessions([0.1], [0.01], np.full(10, 90))
    silent = scores.filter(session="s0").with_columns(
        session=pl.lit("s99"),
        num_choices=pl.lit(0, pl.Int64),
        heldout_log_likelihood=pl.lit(0.0),
    )
    both = choose_for_subject(pl.concat([scores, silent])).table
    assert_frame_equal(both, choose_for_subject(scores).table)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (cohort(PUBLISHED).drop("heldout_bits_per_trial"), "no columns"),
        (pl.concat([cohort(PUBLISHED)] * 2), "more than one score"),
        (cohort(PUBLISHED).filter(subject="m00"), "1 subjects"),
        (cohort(PUBLISHED).filter(num_states=3), "1 numbers of states"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(scores, said):
    with pytest.raises(InputError, match=said):
        choose_for_cohort(scores)


def test_sessions_that_cannot_be_judged_are_refused():
    scores = sessions([0.1], [0.01], np.full(10, 90))
    other = scores.with_columns(subject=pl.lit("n"), session="n" + pl.col("session"))
    with pytest.raises(InputError, match="2 subjects"):
        choose_for_subject(pl.concat([scores, other]))
    uneven = scores.with_columns(num_choices=89 + pl.col("num_states"))
    with pytest.raises(InputError, match="disagree"):
        choose_for_subject(uneven)


@pytest.mark.parametrize("rule", [{"min_gain": -0.1}, {"min_errors": np.nan}, {"resamples": 0}])
def test_rules_that_make_no_sense_are_refused(rule):
    with pytest.raises(InputError, match=next(iter(rule))):
        choose_for_cohort(cohort(PUBLISHED), SelectionRule(**rule))
