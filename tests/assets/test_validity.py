"""Whether states can be trusted, as assets: tables, pictures, checks, and the cohort's."""

import warnings

import dagster as dg
import numpy as np
import polars as pl
import pytest

from glmhmm_assets.defs.findings import TABLES, findings
from glmhmm_assets.defs.validity import build_cohort_checks, closed_loop
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_core.fitting.result import Excluded

FITS = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits")
MADE = ("predictive_checks", "parameter_recovery", "state_paths", "state_accuracy")
DRAWN = ("predictive_checks", "parameter_recovery", "state_accuracy")


@pytest.mark.slow
def test_every_subject_is_put_to_the_test_and_so_is_the_cohort(make_home):
    home = make_home(a=0, b=1, c=2)
    home.edit("[figures]", "[checks]\nrecoveries = 2\nrecovery_restarts = 1\n\n[figures]")
    home.add("a", "b", "c")
    path = home.write("c", 2)
    path.write_text(path.read_text().replace(",1,", ",7,"))  # c cannot be used
    result = home.run(assets=[*FITS, *MADE])
    for name in MADE:
        facts = home.metadata(result, name)
        assert {s for s, f in facts.items() if "excluded" in f} == {"c"}, name
        assert isinstance(home.stored(name, "c"), Excluded)
        table = home.stored(name, "a")
        assert table["subject"].unique().to_list() == ["a"]
        assert set(table.filter(num_states=2)["state_idx"].drop_nulls()) == {0, 1}
        assert table["state_label"].is_not_null().any()
        there = (home.folder / "storage/tiny/figures/a" / f"{name}.png").exists()
        assert there == (name in DRAWN)
        assert ("picture" in facts["a"]) == (name in DRAWN)

    fits, checks = home.stored("subject_fits", "a"), home.stored("predictive_checks", "a")
    decoded = fits[2].smoothed_state_probs.argmax(1).reshape(4, 60)
    switching = (np.diff(decoded, axis=1) != 0).any(1).mean()
    share = checks.filter(statistic="share_switching").row(0, named=True)
    assert share["data"] == pytest.approx(switching)
    assert len(share["simulations"]) == 200
    assert (
        home.metadata(result, "predictive_checks")["a"]["the_same_simulated"] == share["simulated"]
    )
    assert {e.check_name for e in result.get_asset_check_evaluations()} >= {"predictions_hold"}
    # Simulations feed back all history, with what was rewarded on the trials of the fit.
    given = closed_loop(home.study, fits, home.stored("cleaned_sessions", "a"))
    fed_back = [column for columns in given["history"].values() for column in columns]
    names = fits[2].emission_names
    assert {names[i] for i in fed_back} == {*names} - {"stimulus", "bias"}
    side, follows = fits[2].X[1:, names.index("wsls")], np.arange(1, 240) % 60 > 0
    follows &= fits[2].mask[:-1]
    np.testing.assert_array_equal((2 * given["rewarded"] - 1)[:-1][follows], side[follows])
    recovered = home.stored("parameter_recovery", "a")
    assert recovered["simulation"].unique().sort().to_list() == [0, 1]
    weights = recovered.filter(simulation=0, parameter="weight")
    np.testing.assert_allclose(
        np.sort(weights["truth"]), np.sort(fits[2].fitted_params.emission_weights.ravel())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        (cohort,) = build_cohort_checks(home.study)
        made = dg.materialize(
            [*home.assets(also=MADE), cohort],
            selection=[cohort],
            instance=home.instance,
            resources=build_io_managers(home.folder),
        )
    (event,) = made.get_asset_materialization_events()
    both = [home.stored("predictive_checks", s) for s in ("a", "b")]
    data = [one.filter(statistic="share_switching")["data"].item() for one in both]
    assert event.materialization.metadata["subjects"].value == 2
    facts = event.materialization.metadata
    assert facts["share_of_sessions_with_a_switch"].value == pytest.approx(np.mean(data))

    # What MLflow is told of the shown model, and of no other.
    tables = {name: home.stored(name, "a") for name in MADE}
    told = findings(tables, ("glmhmm", 2), (), True)
    assert told.metrics["predicted_share_switching"] == share["simulated"]
    assert told.metrics["recovery_decoded"] == pytest.approx(
        recovered.unique("simulation")["decoded"].mean()
    )
    paths = tables["state_paths"].filter(statistic="switches_per_session")
    assert told.metrics["switches_per_session"] == paths["mean"].item()
    for table in told.tables.values():
        assert pl.read_csv(table.write_csv().encode()).height == table.height
    assert set(told.tables) == set(MADE) <= set(TABLES)
    assert set(findings(tables, ("glm", 1), (), False).tables) == {"state_accuracy"}
