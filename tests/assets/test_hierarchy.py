"""The hierarchical fit as assets: its versions, who is fitted under which, and what is told."""

from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest

from glmhmm_assets.defs.comparison import side_by_side
from glmhmm_assets.defs.hierarchy import (
    NAME,
    SHRUNKEN,
    _as_compared,
    build_hierarchical_fit,
    build_shrinkage,
    stored_hierarchy,
)
from glmhmm_assets.defs.population import build_population_fit
from glmhmm_assets.defs.rivals import SHRUNKEN_FORECASTS
from glmhmm_assets.defs.tracking import _shrunken_models
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.fitting.shrunken_forecasts import forecast_shrunken
from glmhmm_core.tables.comparison import comparison_table

FEATURES = ("cleaned_sessions", "cleaning_report", "design_tensors")


def make_population(home):
    """Materialize the pooled and the hierarchical fit; metadata of the latter."""
    made = [build_population_fit(home.study), *build_hierarchical_fit(home.study)]
    result = dg.materialize(
        [*home.assets(*FEATURES), *made],
        selection=made,
        instance=home.instance,
        resources=build_io_managers(home.folder),
    )
    (event,) = result.asset_materializations_for_node(f"tiny__{NAME}")
    return {name: value.value for name, value in event.metadata.items()}


def make_table(home):
    """Materialize the table over all subjects; its metadata."""
    made = build_shrinkage(home.study)
    result = dg.materialize(
        [*home.assets(*FEATURES, "subject_fits", SHRUNKEN), *made],
        selection=made,
        instance=home.instance,
        resources=build_io_managers(home.folder),
    )
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


@pytest.mark.slow
def test_subjects_are_fitted_under_the_version_that_is_there(make_home):
    home = make_home(a=0, b=1)
    home.add("a", "b")
    home.run(assets=FEATURES)
    told = make_population(home)
    version = stored_hierarchy(home.study)
    assert told["fingerprint"] == version.fingerprint
    assert told["converged_K2"] is True
    assert told["subjects"] == 2
    assert len(version.folds) == len(version.forecasts) == 2
    assert told["prospective_folds_converged"] == "2 of 2"
    ahead = ["prospective_fits", SHRUNKEN_FORECASTS]
    facts = home.metadata(home.run(assets=["subject_fits", SHRUNKEN, *ahead]), SHRUNKEN)
    for subject in "ab":
        fits = home.stored(SHRUNKEN, subject)
        assert facts[subject]["hierarchy"] == fits.population == version.fingerprint
        own = home.stored("subject_fits", subject)[2]
        gain = fits[2].cv_metrics[0].test_bits_per_trial - own.cv_metrics[0].test_bits_per_trial
        gain += fits[2].cv_metrics[1].test_bits_per_trial - own.cv_metrics[1].test_bits_per_trial
        assert facts[subject]["gain_over_warm_start_K2"] == pytest.approx(gain / 2, abs=1e-3)
        # The same gain is what its run in MLflow is told.
        (model,) = _shrunken_models(home.study, fits, home.stored("subject_fits", subject), {})
        assert model.model == "hierarchical"
        assert model.findings.metrics["gain_over_warm_start"] == pytest.approx(
            facts[subject]["gain_over_warm_start_K2"]
        )
        assert model.asset == SHRUNKEN
        assert model.tags["population_fingerprint"] == version.fingerprint

    # Another session of b fits b anew, under the same version, and leaves a's fit as it is.
    before = {s: home.stored(SHRUNKEN, s).fingerprint for s in "ab"}
    home.write("b", seed=1, sessions=5)
    home.run(assets=[*FEATURES, "subject_fits", SHRUNKEN, *ahead])
    after = {s: home.stored(SHRUNKEN, s).fingerprint for s in "ab"}
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    assert stored_hierarchy(home.study).fingerprint == version.fingerprint

    told = make_table(home)
    table = pl.read_parquet(home.folder / "storage/tiny/shrinkage.parquet")
    assert told["fingerprint"] == version.fingerprint
    assert told["subjects"] == 2
    sd = version.level(2).prior.weight_sd
    rows = table.filter(subject="a", parameter="weight")
    assert rows["population_sd"].to_list() == pytest.approx(sd.ravel().tolist())
    assert rows["shrinkage"].is_between(0, 1).all()
    assert rows.select("class_name", "baseline_class_name").unique().rows() == [("right", "left")]
    assert rows["estimate"].to_list() == pytest.approx(
        home.stored(SHRUNKEN, "a")[2].fitted_params.emission_weights.ravel().tolist()
    )
    assert (home.folder / "storage/tiny/cohort/figures/tiny/population_K2.png").exists()

    # Beside the other models it gains as much over the ordinary fit as is said here.
    for subject in "ab":
        names = ("subject_fits", SHRUNKEN, *ahead)
        made = {name: home.stored(name, subject) for name in names}
        models = comparison_table(subject, side_by_side(made))
        bits = dict(models.select("model", "heldout_bits_per_trial").rows())
        gain = table.filter(subject=subject)["heldout_gain"][0]
        assert bits["hierarchical"] - bits["glmhmm"] == pytest.approx(gain, abs=1e-12)
        (row,) = models.filter(model="hierarchical").to_dicts()
        assert row["gain_over_glm"] is not None
        # So it is on prospective folds, b's of more sessions than the population knew among them.
        forecast = forecast_shrunken({subject: made[SHRUNKEN]}, version)[subject]
        scores = [fold.test_log_likelihood_per_trial for fold in forecast[2].cv_metrics]
        stored = [fold.test_log_likelihood_per_trial for fold in made[ahead[1]][2].cv_metrics]
        assert stored == scores
        (glm,) = models.filter(model="glm").to_dicts()
        gain = row["prospective_bits_per_trial"] - glm["prospective_bits_per_trial"]
        assert row["prospective_gain"] == pytest.approx(gain, abs=1e-12)

    # Where a refit is held, both are of the sessions that the fit which stands saw.
    design = home.stored("design_tensors", "b")
    held = replace(made["subject_fits"], keys_session=np.array(["s00", "s02"]))
    seen = _as_compared({"b": design, "c": design}, {"b": held})
    assert seen["b"].keys["session"].unique().sort().to_list() == ["s00", "s02"]
    assert seen["c"] is design

    # For other prospective folds a version is due, and until then there are no forecasts.
    due = home.study.model_digest()
    home.edit("prospective_folds = 2", "prospective_folds = 1")
    assert home.study.model_digest() != due
    home.run(assets=[SHRUNKEN, SHRUNKEN_FORECASTS])
    reason = home.stored(SHRUNKEN_FORECASTS, "a").reason
    assert reason.startswith("subject 'a': hierarchical_fit has 2 prospective folds, not 1. Mater")

    # Another K is learned with the next version; until then nobody is fitted under the old one.
    home.edit("[figures]", "[hierarchy]\nnum_states = [1]\n\n[figures]")
    assert stored_hierarchy(home.study) is None
    dg.materialize(
        home.assets(*FEATURES, "subject_fits", SHRUNKEN, SHRUNKEN_FORECASTS),
        selection=[dg.AssetKey(["tiny", SHRUNKEN_FORECASTS])],
        instance=home.instance,
        resources=build_io_managers(home.folder),
        partition_key="a",
    )
    reason = home.stored(SHRUNKEN_FORECASTS, "a").reason
    assert reason.startswith("subject 'a': its fits are not under the hierarchical_fit that serves")
    home.run(assets=[SHRUNKEN])
    assert (
        "hierarchical_fit that is there is of other settings" in home.stored(SHRUNKEN, "a").reason
    )

    # Where nobody can be forecast, its page says why.
    home.edit("prospective_folds = 1", "prospective_folds = 9")
    told = make_population(home)
    assert "prospective_folds_converged" not in told
    assert "b (9 prospective folds need 18 sessions, there are 5)" in told["notes"]


def test_there_are_forecasts_where_the_study_asks_for_both(make_home):
    home = make_home(a=0)

    def built():
        keys = home.definitions().resolve_asset_graph().get_all_asset_keys()
        return {key.path[-1] for key in keys}

    assert SHRUNKEN_FORECASTS in built()
    home.edit("prospective_folds = 2", "prospective_folds = 0")
    assert SHRUNKEN_FORECASTS not in built()
    assert SHRUNKEN in built()


def test_one_subject_has_no_population_to_learn_from(make_home):
    home = make_home(a=0)
    home.add("a")
    home.run(assets=FEATURES)
    told = make_population(home)
    assert "nothing to share" in told["excluded"]
    manager = build_io_managers(home.folder)["hierarchies"]
    assert isinstance(manager.read(home.folder / f"storage/tiny/{NAME}.npz"), Excluded)
    assert stored_hierarchy(home.study) is None


def test_a_study_may_do_without(make_home):
    home = make_home(a=0)
    home.edit("[figures]", "[hierarchy]\nenabled = false\n\n[figures]")
    names = {key.path[-1] for key in home.definitions().resolve_asset_graph().get_all_asset_keys()}
    assert not names & {NAME, SHRUNKEN, SHRUNKEN_FORECASTS, "shrinkage"}
    assert "fit_tracking" in names
