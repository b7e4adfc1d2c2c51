"""Models side by side, standard errors, and the cohort's number of states, as assets."""

import dagster as dg
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glmhmm_assets.defs.comparison import build_cohort_comparison, build_state_choice
from glmhmm_assets.defs.validity import closed_loop
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_assets.partitions import subjects_of
from glmhmm_core.comparison import nuts
from glmhmm_core.comparison.bootstrap import bootstrap_sessions
from glmhmm_core.comparison.nuts import WITHIN_MODE_SCHEMA
from glmhmm_core.comparison.predictive_checks import predictive_checks
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.fitting.uncertainty import UNCERTAINTY_SCHEMA
from glmhmm_core.tables.comparison import COMPARISON_SCHEMA
from glmhmm_core.tables.parameters import with_intervals

JUDGED = (
    "baseline_fits",
    "prospective_fits",
    "model_comparison",
    "comparison",
    "parameter_errors",
)
KINDS = ("session_fits", "session_kinds", "session_checks")
FITS = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits")


@pytest.mark.slow
def test_every_subject_gets_all_models_and_errors(make_home, monkeypatch):
    home = make_home(a=0, b=1)
    home.add("a", "b")
    # A subject that cannot be used stays left out, with its reason.
    path = home.write("b", 1)
    path.write_text(path.read_text().replace(",1,", ",7,"))
    made = home.run(assets=[*FITS, *KINDS, *JUDGED])
    facts = home.metadata(made, "model_comparison")
    assert "excluded" in facts["b"]
    assert isinstance(home.stored("parameter_errors", "b"), Excluded)

    table, fits = home.stored("model_comparison", "a"), home.stored("subject_fits", "a")
    models = ["glm", "glmhmm", "lapse_class", "drifting_weights", "glmhmm_sessions"]
    assert table["model"].to_list() == models
    assert table["converged"].dtype == pl.Boolean
    glm, two = table.row(0, named=True), table.row(1, named=True)
    assert glm["gain_over_glm"] is None
    gain = two["heldout_bits_per_trial"] - glm["heldout_bits_per_trial"]
    assert two["gain_over_glm"] == pytest.approx(gain)
    assert facts["a"]["best_glmhmm"] == "glmhmm of 2 states"
    forecast = home.stored("prospective_fits", "a")
    assert [len(fit.cv_metrics) for fit in forecast.fits] == [2, 2]
    gain = two["prospective_bits_per_trial"] - glm["prospective_bits_per_trial"]
    assert two["prospective_gain"] == pytest.approx(gain)
    assert table["prospective_gain"].null_count() == 1  # the GLM's
    assert "On prospective folds" in facts["a"]["conclusion"]
    assert (home.folder / "storage" / "tiny" / "figures" / "a" / "comparison.png").exists()
    baselines = home.stored("baseline_fits", "a")
    assert [fit.model for fit in baselines.fits] == ["lapse_class", "drifting_weights"]

    # Sessions of two kinds: gains by session add up to the difference of the two rows.
    kinds, sessions = table.row(-1, named=True), home.stored("session_kinds", "a")
    assert kinds["num_states"] == 2
    assert kinds["num_parameters"] == two["num_parameters"] + 1 + 1 + 2
    more = (kinds["heldout_bits_per_trial"] - two["heldout_bits_per_trial"]) * np.log(2)
    assert sessions["heldout_gain"].sum() == pytest.approx(more * sessions["num_choices"].sum())
    np.testing.assert_allclose(sessions["p_kind_0"] + sessions["p_kind_1"], 1)
    told = home.metadata(made, "session_fits")
    assert told["a"]["heldout_gain_over_plain"] == pytest.approx(more / np.log(2))
    assert "excluded" in told["b"]
    checks = home.stored("session_checks", "a").row(by_predicate=pl.col("lag") == 1, named=True)
    assert (checks["model"], checks["num_states"]) == ("glmhmm_sessions", 2)
    again = predictive_checks(  # simulated from sessions of kinds, and not from the plain chain
        fits[2],
        **closed_loop(home.study, fits, home.stored("cleaned_sessions", "a")),
        kinds=home.stored("session_fits", "a").fits[0].fitted_params,
        num_simulations=home.study.checks.simulations,
        seed=home.study.model.seed,
    )
    stored = home.stored("session_checks", "a")
    assert stored["simulated"].to_list() == pytest.approx(again["simulated"].to_list())
    picture = home.folder / "storage" / "tiny" / "figures" / "a" / "session_kinds.png"
    assert picture.exists()

    errors = home.stored("parameter_errors", "a")
    assert len(errors) == 4 + 4 + 2 + 1  # weights, transitions and the first state, freely
    weights = errors.filter(pl.col("parameter") == "weight")
    np.testing.assert_allclose(
        np.sort(weights["estimate"]), np.sort(fits[2].fitted_params.emission_weights.ravel())
    )
    assert home.metadata(made, "parameter_errors")["a"]["near_singular"] is False

    # The study file asks for other intervals of the same parameters.
    home.edit("[figures]", '[uncertainty]\nmethod = "bootstrap"\nresamples = 20\n\n[figures]')
    told = home.metadata(home.run(assets=["parameter_errors"]), "parameter_errors")
    expected = bootstrap_sessions(fits[2], 20, home.study.model.seed)
    assert_frame_equal(home.stored("parameter_errors", "a"), expected.table)
    assert told["a"]["method"] == "bootstrap"
    assert told["a"]["not_converged"] == expected.not_converged
    assert "excluded" in told["b"]

    asked = {}

    def sample(fit, **settings):
        asked.update(settings)
        named = free_parameters(fit)
        mode = named.values(fit.fitted_params)
        draws = mode + np.random.default_rng(0).normal(0, 0.2, (4, 500, len(mode)))
        return nuts._told(named, mode, draws, 3, 1)

    monkeypatch.setattr(nuts, "sample_within_mode", sample)
    home.edit('"bootstrap"\nresamples = 20', '"nuts"\ndraws = 500')
    told = home.metadata(
        home.run(assets=["parameter_errors", "weight_table", "weights"]), "parameter_errors"
    )
    assert asked == {"draws": 500, "seed": home.study.model.seed}
    table = home.stored("parameter_errors", "a")
    assert dict(table.schema) == UNCERTAINTY_SCHEMA | WITHIN_MODE_SCHEMA
    np.testing.assert_allclose(table["se"], 0.2, rtol=0.1)
    assert (told["a"]["divergences"], told["a"]["relabelled"]) == (3, 1)
    assert told["a"]["largest_r_hat"] == table["r_hat"].max()
    assert "3 draws diverged" in told["a"]["remarks"]
    bars = with_intervals(home.stored("weight_table", "a").filter(num_states=2), table)
    np.testing.assert_allclose(bars["upper"] - bars["weight"], 0.39, atol=0.08)

    # Without simulations they are the same, are not fitted again, and have a picture all the same.
    before, fitted = home.stored("session_fits", "a"), "glmhmm_core.baselines.session_kinds"
    monkeypatch.delattr(f"{fitted}.maximize_kinds")
    home.edit("[figures]", "[checks]\nsimulations = 0\n\n[figures]")
    picture.unlink()
    told = home.metadata(home.run(assets=["prospective_fits", *KINDS[:2]]), "session_fits")
    assert "share_of_sessions_with_a_switch" not in told["a"]
    assert told["a"]["heldout_gain_over_plain"] == pytest.approx(more / np.log(2))
    assert home.stored("session_fits", "a").fingerprint == before.fingerprint
    assert picture.exists()


@pytest.mark.slow
def test_rivals_that_are_there_are_not_fitted_again(make_home, monkeypatch):
    home = make_home(a=0)
    home.add("a")
    home.run(assets=[*FITS, "baseline_fits", "prospective_fits"])
    before = home.stored("baseline_fits", "a"), home.stored("prospective_fits", "a")

    def refuse(*_, **__):
        raise AssertionError("fitted again")

    monkeypatch.setattr("glmhmm_core.baselines.subject.fit_baselines", refuse)
    monkeypatch.setattr("glmhmm_core.fitting.prospective.score_prospectively", refuse)
    home.run(assets=["baseline_fits", "prospective_fits"])
    after = home.stored("baseline_fits", "a"), home.stored("prospective_fits", "a")
    assert [one.fingerprint for one in after] == [one.fingerprint for one in before]
    home.edit("prospective_folds = 2", "prospective_folds = 1")
    with pytest.raises(AssertionError, match="fitted again"):
        home.run(assets=["baseline_fits"])


def cohort_of(home, **tables):
    """Materialize the cohort's comparison from tables by subject; its facts and its table."""
    home.add(*tables)
    folder = home.folder / "storage" / "tiny" / "model_comparison"
    folder.mkdir(parents=True)
    manager = build_io_managers(home.folder)["tables"]
    for subject, table in tables.items():
        manager.write(table, folder / f"{subject}.parquet")
    upstream = dg.AssetSpec(
        dg.AssetKey(["tiny", "model_comparison"]),
        partitions_def=subjects_of(home.study),
        metadata={"dagster/io_manager_key": "tables"},
    )
    made = dg.materialize(
        [upstream, build_cohort_comparison(home.study)],
        instance=home.instance,
        resources=build_io_managers(home.folder),
    )
    (event,) = made.get_asset_materialization_events()
    facts = {name: value.value for name, value in event.materialization.metadata.items()}
    return facts, manager.read(home.folder / "storage" / "tiny" / "cohort_comparison.parquet")


def compared(subject, gain, converged=True):
    rows = [
        {"model": "glm", "num_states": 1, "heldout_bits_per_trial": 0.3, "converged": True},
        {
            "model": "glmhmm",
            "num_states": 2,
            "heldout_bits_per_trial": 0.3 + gain,
            "gain_over_glm": gain,
            "converged": converged,
        },
    ]
    return pl.DataFrame([{"subject": subject, **one} for one in rows], schema=COMPARISON_SCHEMA)


def test_the_cohorts_comparison_counts_whom_it_leaves_out(make_home):
    home = make_home()
    facts, table = cohort_of(
        home,
        a=compared("a", 0.1),
        b=compared("b", 0.3),
        c=compared("c", 9.0, converged=False),
        d=Excluded("d", "too few sessions"),
    )
    states = table.row(1, named=True)
    assert (states["subjects"], states["left_out"]) == (2, 1)
    assert states["gain_over_glm"] == pytest.approx(0.2)
    assert facts["subjects"] == 3
    assert "2 states beat the GLM by 0.2000 bits per trial (SE 0.1000)" in facts["conclusion"]
    assert "1 of glmhmm K=2" in facts["conclusion"]
    assert table["conclusion"].unique().to_list() == [facts["conclusion"]]
    assert (home.folder / "storage/tiny/cohort/figures/tiny/comparison.png").exists()


def test_a_cohort_of_nobody_has_no_comparison(make_home):
    facts, value = cohort_of(make_home(), d=Excluded("d", "too few sessions"))
    assert isinstance(value, Excluded)
    assert "no subject" in facts["excluded"]


def choose(home, summary):
    """Materialize the cohort's number of states from a summary; give its metadata."""
    manager = build_io_managers(home.folder)["tables"]
    folder = home.folder / "storage" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    manager.write(summary, folder / "cohort_summary.parquet")
    upstream = dg.AssetSpec(
        dg.AssetKey(["tiny", "cohort_summary"]), metadata={"dagster/io_manager_key": "tables"}
    )
    made = dg.materialize(
        [upstream, build_state_choice(home.study)],
        instance=home.instance,
        resources=build_io_managers(home.folder),
    )
    (event,) = made.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def summary(scores):
    rows = [
        {"subject": subject, "num_states": k, "heldout_bits_per_trial": bits, "converged": True}
        for subject, by_states in scores.items()
        for k, bits in enumerate(by_states, start=1)
    ]
    return pl.DataFrame(rows)


def test_the_cohorts_number_is_the_smallest_that_the_next_does_not_beat(make_home):
    home = make_home()
    scores = {s: (0.3 + d, 0.4 + d, 0.404 + d) for s, d in zip("abc", (0, 0.01, 0.02), strict=True)}
    facts = choose(home, summary(scores))
    assert facts["num_states"] == 2
    assert facts["reason"]
    table = pl.read_parquet(home.folder / "storage" / "tiny" / "state_choice.parquet")
    assert table.filter("chosen")["num_states"].to_list() == [2]


def test_without_scores_there_is_no_number_but_a_reason(make_home):
    facts = choose(make_home(), summary({"a": (0.3, 0.4)}))
    assert "1 subjects" in facts["excluded"]
