"""The population's fit as an asset: when a version is made, and who is fitted from which."""

from dataclasses import replace

import dagster as dg
import pytest

from glmhmm_assets.defs.population import (
    HIERARCHY,
    NAME,
    build_population_fit,
    is_due,
    stored_population,
)
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_core.fitting.result import Excluded

FEATURES = ("cleaned_sessions", "cleaning_report", "design_tensors")


def report(home, name, **facts):
    """Say that an asset was made."""
    key = dg.AssetKey(["tiny", name])
    home.instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=facts))


def make_population(home):
    """Materialize the population's fit from the designs that are there."""
    made = build_population_fit(home.study)
    return dg.materialize(
        [*home.assets(*FEATURES), made],
        selection=[made],
        instance=home.instance,
        resources=build_io_managers(home.folder),
    )


@pytest.fixture
def home(make_home):
    """Two subjects whose designs are made."""
    home = make_home(a=0, b=1)
    home.add("a", "b")
    home.run(assets=FEATURES)
    return home


@pytest.mark.slow
def test_subjects_start_from_the_version_that_is_there(home):
    assert stored_population(home.study, ()) is None
    home.run(assets=["subject_fits"])
    alone = home.stored("subject_fits", "a")
    assert alone[2].own_optimum is None
    (event,) = make_population(home).get_asset_materialization_events()
    told = event.materialization.metadata
    population = stored_population(home.study, ())
    assert told["fingerprint"].value == population.fingerprint
    assert told["subjects"].value == 2
    facts = home.metadata(home.run(assets=["subject_fits"]), "subject_fits")
    fits = home.stored("subject_fits", "a")
    assert fits.fingerprint != alone.fingerprint
    # From the population's fit, and from the subject's own earlier one.
    assert len(fits[2].restart_objectives) == len(alone[2].restart_objectives) + 2
    assert facts["a"]["optimum"] in ("population", "own restarts")
    # Another session of b makes its fit anew, from the same version, and leaves a's as it is.
    home.write("b", seed=1, sessions=5)
    facts = home.metadata(home.run(assets=[*FEATURES, "subject_fits"]), "subject_fits")
    assert facts["a"]["from_store"]
    assert "from_store" not in facts["b"]
    assert stored_population(home.study, ()).fingerprint == population.fingerprint
    # A version of what has not changed costs nothing and changes nothing.
    home.write("b", seed=1)
    home.run(assets=FEATURES)
    make_population(home)
    assert stored_population(home.study, ()).fingerprint == population.fingerprint


@pytest.mark.slow
def test_a_version_is_due_when_none_serves(home):
    assert is_due(home.study, home.instance, 2)
    make_population(home)
    assert is_due(home.study, home.instance, 3)  # killed before the hierarchical fit was made
    report(home, HIERARCHY)
    assert not is_due(home.study, home.instance, 3)
    home.edit("n_restarts = 2", "n_restarts = 3")
    assert is_due(home.study, home.instance, 2)
    assert stored_population(home.study, ()) is not None  # still a start as good as any
    design = home.stored("design_tensors", "a")
    assert stored_population(home.study, [design]) is not None
    other = replace(design, feature_names=(*design.feature_names[:-1], "another"))
    assert stored_population(home.study, [design, other]) is None
    home.edit("cv_folds = 2", "cv_folds = 3")
    assert stored_population(home.study, ()) is None  # its folds hold out other sessions


def test_one_subject_has_no_population_until_a_second_comes(make_home):
    home = make_home(a=0)
    home.add("a")
    home.run(assets=FEATURES)
    make_population(home)
    report(home, HIERARCHY)
    manager = build_io_managers(home.folder)["fits"]
    assert isinstance(manager.read(home.folder / "storage/tiny/population_fit.npz"), Excluded)
    assert stored_population(home.study, ()) is None
    assert not is_due(home.study, home.instance, 1)
    assert is_due(home.study, home.instance, 2)


def test_the_sensor_asks_for_a_version_only_when_one_is_due(make_home):
    home = make_home(a=0, b=1)
    sensor = next(s for s in home.definitions().sensors if s.name == "tiny_session_files")

    def asked_for() -> set[str]:
        with dg.build_sensor_context(home.instance, definitions=home.definitions()) as context:
            (request,) = sensor.evaluate_tick(context).run_requests
        return {key.path[-1] for key in request.asset_selection}

    assert {NAME, "subject_fits"} <= asked_for()
    report(home, NAME, settings=home.study.model_digest())
    assert {NAME, HIERARCHY} <= asked_for()
    report(home, HIERARCHY)
    assert not {NAME, HIERARCHY} & asked_for()
    assert "subject_fits" in asked_for()
