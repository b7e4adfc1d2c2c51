"""The population's fit as an asset: when a version is made, and who is fitted from which."""

from dataclasses import replace

import dagster as dg
import pytest

from glmhmm_assets.defs.population import (
    HIERARCHY,
    NAME,
    _may_be_member,
    build_population_fit,
    members_of,
    of_study,
    others,
    population_for,
    stored_population,
    why_due,
)
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_core.errors import InputError
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
    home.edit("[figures]", "[hierarchy]\nenabled = false\n[figures]")
    assert why_due(home.study, home.instance, ["a", "b"]) == "there was none yet"
    make_population(home)
    assert why_due(home.study, home.instance, ["a", "b"]) is None
    home.edit("enabled = false", "enabled = true")
    report(home, NAME, settings=home.study.model_digest())
    # Killed before the hierarchical fit was made.
    assert "hierarchical_fit.npz: a stored file is missing" in why_due(
        home.study, home.instance, ["a", "b"]
    )
    home.edit("enabled = true", "enabled = false")
    report(home, NAME, settings=home.study.model_digest())
    why = why_due(home.study, home.instance, ["a", "b", "c"])
    assert why == "1 of 3 subjects are not among those it was made of: c"
    assert why_due(home.study, home.instance, ()) is None
    assert members_of(stored_population(home.study, ())) == ["a", "b"]
    home.edit("n_restarts = 2", "n_restarts = 3")
    assert why_due(home.study, home.instance, ["a", "b"]) == "settings of the study changed"
    assert stored_population(home.study, ()) is not None  # still a start as good as any
    design = home.stored("design_tensors", "a")
    assert stored_population(home.study, [design]) is not None
    other = replace(design, feature_names=(*design.feature_names[:-1], "another"))
    assert stored_population(home.study, [design, other]) is None
    home.edit("cv_folds = 2", "cv_folds = 3")
    assert stored_population(home.study, ()) is None  # its folds hold out other sessions


def test_one_subject_has_no_population_until_a_second_comes(make_home):
    home = make_home(a=0)
    home.edit("[figures]", "[hierarchy]\nenabled = false\n[figures]")
    home.add("a")
    home.run(assets=FEATURES)
    make_population(home)
    manager = build_io_managers(home.folder)["fits"]
    assert isinstance(manager.read(home.folder / "storage/tiny/population_fit.npz"), Excluded)
    assert stored_population(home.study, ()) is None
    with pytest.raises(
        InputError, match=r"it could not be made \(population fit: a population of 1"
    ):
        population_for(home.study, ())
    assert why_due(home.study, home.instance, ["a"]) is None
    assert "two subjects or more" in why_due(home.study, home.instance, ["a", "b"])


def test_the_sensor_asks_for_a_version_only_when_one_is_due(make_home, monkeypatch):
    home = make_home(a=0, b=1)
    sensor = next(s for s in home.definitions().sensors if s.name == "tiny_session_files")

    def asked_for() -> set[str]:
        with dg.build_sensor_context(home.instance, definitions=home.definitions()) as context:
            (request,) = sensor.evaluate_tick(context).run_requests
        return {key.path[-1] for key in request.asset_selection}

    assert {NAME, "subject_fits"} <= asked_for()
    monkeypatch.setattr("glmhmm_assets.automation.why_due", lambda *_: None)
    assert not {NAME, HIERARCHY} & asked_for()
    assert "subject_fits" in asked_for()


@pytest.mark.parametrize(
    ("members", "today", "why"),
    [
        ("ab", "abcde", "3 of 5 subjects are not among those it was made of: c, d, e"),
        ("abcd", "abcde", None),  # a fifth is not more than a fifth
        ("abc", "abcd", "1 of 4 subjects are not among those it was made of: d"),
        ("abcde", "abcd", None),
        ("abcd", "abc", "1 of 4 that it was made of are not in the study any more: d"),
        ("abcd", "dcba", None),
    ],
)
def test_a_version_is_due_when_more_than_a_fifth_of_its_members_are_others(members, today, why):
    assert others(list(members), list(today)) == why


@pytest.mark.parametrize("damage", [b"", b"garbage", None], ids=["empty", "garbage", "missing"])
def test_a_version_whose_file_is_not_whole_is_due(make_home, damage):
    home = make_home(a=0, b=1)
    home.edit("[figures]", "[hierarchy]\nenabled = false\n[figures]")
    report(home, NAME, settings=home.study.model_digest())
    file = home.folder / "storage" / "tiny" / f"{NAME}.npz"
    file.parent.mkdir(parents=True)
    if damage is not None:
        file.write_bytes(damage)
    assert f"{NAME}.npz: a stored file is" in why_due(home.study, home.instance, ["a", "b"])


def test_a_subject_that_cannot_be_used_makes_no_version_due_again_and_again(make_home):
    home = make_home(a=0, b=1)
    (home.sessions / "b.csv").write_text("subject,session,stimulus,choice,feedback\n")
    home.add("a", "b")
    home.run(assets=FEATURES)
    assert not _may_be_member(home.study, "b")
    assert _may_be_member(home.study, "a")
    assert _may_be_member(home.study, "new")


def test_subjects_are_pooled_that_the_study_includes_however_their_ids_are_written(make_home):
    home = make_home(a=0)
    home.edit("[figures]", '[subjects]\ninclude = ["907.0", "m2"]\n[figures]')
    assert list(of_study(home.study, dict.fromkeys(["907", "m1", "m2"]))) == ["907", "m2"]
