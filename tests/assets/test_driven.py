"""Models with transition regressors as assets of the graph, for studies that name some."""

import polars as pl
import pytest

from glmhmm_assets.defs.driven import FIGURES
from glmhmm_core.comparison.scores import heldout_bits_per_trial
from glmhmm_core.fitting.result import Excluded

FITS = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits", "transition_fits")
JUDGED = (
    "baseline_fits",
    "prospective_fits",
    "prospective_transition_fits",
    "model_comparison",
)
TASK = """
extends = "two_afc"
title = "Driven"

[[transition_regressors]]
kind = "outcome_trace"
half_life = 3
"""


@pytest.fixture
def home(make_home):
    home = make_home(a=0, b=1)
    home.add("a", "b")
    (home.file.parent / "tasks").mkdir()
    (home.file.parent / "tasks" / "driven.toml").write_text(TASK)
    home.edit('"two_afc"', '"studies/tasks/driven.toml"')
    home.edit("[model]", '[model]\ntransition_regressors = ["outcome_trace"]')
    return home


def names(home):
    keys = home.definitions().resolve_all_asset_specs()
    return {spec.key.path[-1] for spec in keys}


def test_only_a_study_that_names_regressors_has_them(home):
    driven = {"transition_fits", "transition_weight_table", "cohort_transition_weights", *FIGURES}
    ahead = {"prospective_transition_fits"}
    assert driven | ahead <= names(home)
    home.edit("prospective_folds = 2", "prospective_folds = 0")
    assert names(home) & (driven | ahead) == driven
    home.edit('["outcome_trace"]', "[]")
    assert not driven & names(home)


@pytest.mark.slow
def test_they_stand_beside_the_fits_with_a_constant_chain(home):
    path = home.write("b", 1)
    path.write_text(path.read_text().replace(",1,", ",7,"))
    made = home.run(
        assets=[*FITS, "transition_weight_table", *FIGURES, *JUDGED],
    )
    facts = home.metadata(made, "transition_fits")
    assert "excluded" in facts["b"]
    tables = ("transition_weight_table", "model_comparison")
    for asset in ("transition_fits", "prospective_transition_fits", *tables):
        assert isinstance(home.stored(asset, "b"), Excluded)

    constant, driven = home.stored("subject_fits", "a"), home.stored("transition_fits", "a")
    assert [fit.num_states for fit in driven.fits] == [2]
    assert driven[2].transition_names == ("outcome_trace",)
    assert constant[2].transition_names == ()
    assert driven.population == constant.fingerprint == facts["a"]["started_from"]
    gain = heldout_bits_per_trial(driven[2]) - heldout_bits_per_trial(constant[2])
    assert facts["a"]["gain_over_constant_chain_K2"] == pytest.approx(gain, abs=1e-3)

    row = home.stored("model_comparison", "a").filter(model="glmhmm_t").row(0, named=True)
    assert row["num_states"] == 2
    assert row["heldout_bits_per_trial"] == pytest.approx(heldout_bits_per_trial(driven[2]))
    plain = home.stored("model_comparison", "a").filter(model="glmhmm").row(0, named=True)
    assert row["num_parameters"] == plain["num_parameters"] + 2
    # Forecasts of both, of the same sessions.
    ahead = home.stored("prospective_transition_fits", "a")[2]
    assert len(ahead.cv_metrics) == 2
    bits = heldout_bits_per_trial(ahead)
    assert row["prospective_bits_per_trial"] == pytest.approx(bits)
    gain = row["prospective_bits_per_trial"] - plain["prospective_bits_per_trial"]
    assert row["prospective_gain"] - plain["prospective_gain"] == pytest.approx(gain)

    weights = home.stored("transition_weight_table", "a")
    assert weights.filter(pl.col("feature") == "outcome_trace")["se"].null_count() == 0
    for name in FIGURES:
        assert (home.study.storage / "figures" / "a" / f"{name}.png").exists()

    again = home.metadata(home.run(assets=FITS), "transition_fits")
    assert again["a"]["from_store"]
    assert home.stored("transition_fits", "a").fingerprint == driven.fingerprint
