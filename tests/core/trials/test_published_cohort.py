"""The nine real mice: the cohort rule of Ashwood et al. 2022 gives exactly the published table."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.published_mice import unpack

from glmhmm_core.design.build import build_design
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

pytestmark = pytest.mark.slow

TASK = load_task("ibl_2afc")

#: subject: sessions in the archive, kept, trials kept, without a choice, p(right), rewarded
TABLE = {
    "CSHL_001": (82, 36, 3240, 2, 0.6235, 0.6043),
    "CSHL_003": (79, 57, 5130, 3, 0.4941, 0.8002),
    "IBL-T1": (96, 62, 5580, 7, 0.4149, 0.7677),
    "KS005": (77, 37, 3330, 2, 0.4075, 0.7201),
    "NYU-06": (59, 44, 3960, 5, 0.4736, 0.7692),
    "ZM_1743": (79, 62, 5580, 2, 0.4371, 0.7864),
    "ibl_witten_13": (66, 51, 4590, 7, 0.4298, 0.7508),
    "CSH_ZAD_001": (31, 0, 0, 0, None, None),
    "DY_005": (40, 0, 0, 0, None, None),
}
#: The sessions whose time columns are shorter than their choices.
RAGGED = {
    ("ZM_1743", "2019-07-18_001"),
    ("ZM_1743", "2019-07-25_001"),
    ("ibl_witten_13", "2019-11-27_001"),
}


@pytest.fixture(scope="module")
def mice(test_data, tmp_path_factory):
    """Folder of the nine unpacked mice."""
    return unpack(test_data, tmp_path_factory.mktemp("mice"))


@pytest.fixture(scope="module")
def read(mice):
    """Trials and report of each mouse, as read."""
    return {
        name: read_subject(mice, "alf", TASK, name) for name in scan(mice, "alf", TASK).subjects
    }


def test_the_table_is_the_published_one(read):
    found = {}
    for name, (trials, _) in read.items():
        cleaned, _ = clean(trials, TASK)
        chain = cleaned.filter("in_chain")
        rewarded = (chain["feedback"] == 1).mean()
        found[name] = (
            trials["session"].n_unique(),
            chain["session"].n_unique(),
            len(chain),
            chain["choice"].null_count(),
            None if chain.is_empty() else round(chain["choice"].mean(), 4),
            None if chain.is_empty() else round(rewarded, 4),
        )
    assert found == TABLE


def test_every_session_kept_has_its_ninety_unbiased_trials(read):
    for name in ("CSHL_001", "ibl_witten_13"):
        cleaned, _ = clean(read[name][0], TASK)
        per_session = cleaned.group_by("session").agg(
            pl.col("in_chain").sum(), pl.col("trial").filter("in_chain").max().alias("last")
        )
        assert per_session["in_chain"].unique().to_list() == [90]
        assert per_session["last"].unique().to_list() == [89]


def test_ragged_sessions_lose_their_times_and_no_trial(read):
    ragged = pl.concat(report for _, report in read.values()).filter(rule="ragged")
    assert set(ragged.select("subject", "session").unique().rows()) == RAGGED
    for subject, session in RAGGED:
        trials = read[subject][0].filter(session=session)
        assert trials["choice"].null_count() < len(trials) > 300


def test_mice_with_too_few_sessions_say_so(read):
    for name in ("CSH_ZAD_001", "DY_005"):
        _, report = clean(read[name][0], TASK)
        (reason,) = report.filter(rule="min_sessions")["reason"]
        assert "fewer than 30" in reason


@pytest.mark.parametrize("rules", [TASK.rules, ()])
def test_nothing_looks_wrong_with_real_mice(read, rules):
    """With all of their training, too."""
    for name, (trials, _) in read.items():
        _, report = clean(trials, replace(TASK, rules=rules))
        assert not report["warning"].any(), name


def test_response_times_are_those_of_mice(read):
    for name, (trials, _) in read.items():
        cleaned, _ = clean(trials, TASK)
        times = cleaned.filter("in_chain")["response_time"]
        if len(times):
            assert times.null_count() < 0.1 * len(times), name
            assert 0.1 < times.median() < 2, name
            assert times.min() >= 0


def test_designs_are_finite_and_history_is_zero_at_the_start_of_sessions(read):
    cleaned, _ = clean(read["CSHL_003"][0], TASK)
    design = build_design(cleaned, TASK)
    assert design.X.shape == (5130, 4)
    assert np.isfinite(design.X).all()
    assert (~design.mask).sum() == 3
    first = design.keys["trial"].to_numpy() == 0
    assert first.sum() == 57
    np.testing.assert_array_equal(design.X[first][:, 2:], 0)
    np.testing.assert_allclose(np.abs(design.X[:, 0]).max(), 2.0943)
    slope = np.corrcoef(design.X[design.mask, 0], design.y[design.mask])[0, 1]
    assert slope > 0.4
