"""Subjects that are up to date, on a graph of four assets with events and files made by hand."""

import os

import dagster as dg
import pytest

from glmhmm_assets import up_to_date
from glmhmm_assets.automation import nightly_run, population_run
from glmhmm_assets.io_managers import stem_of
from glmhmm_assets.partitions import known_subjects, subjects_of
from glmhmm_assets.resources.session_files import scan_sessions
from glmhmm_assets.up_to_date import Record, marks
from glmhmm_assets.watching import arrived

ORDER = ("population_fit", "subject_fits", "weights", "fit_tracking", "state_matches")


def graph(study):
    """Population, and what is partitioned by subject."""

    def asset(name, *above, **more):
        deps = [dg.AssetKey([study.name, one]) for one in above]
        build = dg.asset(name=name, key_prefix=study.name, deps=deps, code_version="1", **more)
        return build(lambda: None)

    common = {"partitions_def": subjects_of(study)}
    return [asset("population_fit")], [
        asset("subject_fits", "raw_sessions", "population_fit", io_manager_key="fits", **common),
        asset("weights", "subject_fits", **common),
        asset("fit_tracking", "subject_fits", "weights", **common),
        asset("state_matches", "subject_fits", io_manager_key="tables", **common),
    ]


class Tiny:
    """A home whose subjects went through the whole graph."""

    def __init__(self, home) -> None:
        self.home = home
        self.population, self.per_subject = graph(home.study)
        home.add("a", "b", "c")
        for files in scan_sessions(home.study).subjects.values():
            home.instance.report_runless_asset_event(arrived(home.study, files))
        for subject in "abc":
            self.fits(subject).parent.mkdir(parents=True, exist_ok=True)
            self.fits(subject).write_bytes(b"fits")
        self.storage("state_matches").mkdir()
        for name in ORDER:
            if name == "state_matches":  # after the models are in MLflow, as in a run
                for subject in "abc":
                    (self.storage(name) / f"{subject}.parquet").write_bytes(b"matches")
            self.made(name, *([None] if name == "population_fit" else "abc"))

    def storage(self, asset):
        return self.home.folder / "storage" / "tiny" / asset

    def fits(self, subject):
        return self.storage("subject_fits") / f"{subject}.npz"

    def made(self, name, *subjects) -> None:
        told = marks(self.home.study) if name == "fit_tracking" else {}
        for subject in subjects:
            self.home.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    dg.AssetKey(["tiny", name]),
                    partition=subject,
                    metadata=told,
                    tags={"dagster/code_version": "1"},
                )
            )

    @property
    def record(self) -> Record:
        return Record(self.home.study, self.home.instance, self.per_subject)

    def outdated(self) -> list[str]:
        return self.record.outdated(scan_sessions(self.home.study))

    def night(self):
        return nightly_run(self.record)

    def sunday(self):
        return population_run(self.record, self.population)


@pytest.fixture
def tiny(make_home):
    return Tiny(make_home(a=1, b=2, c=3))


def test_a_night_in_which_nothing_changed_asks_for_no_run(tiny):
    assert tiny.night() == dg.SkipReason("everything is up to date")


def test_a_night_goes_over_those_who_are_behind(tiny):
    tiny.made("subject_fits", "b")
    tags = tiny.night().tags
    assert tags["dagster/asset_partition_range_start"] == "b"
    assert tags["dagster/asset_partition_range_end"] == "b"


def test_a_night_goes_over_everyone_when_the_files_cannot_be_read(tiny):
    tiny.home.sessions.rename(tiny.home.folder / "elsewhere")
    assert tiny.night().tags["dagster/asset_partition_range_end"] == "c"


def test_the_population_is_not_fitted_again_to_what_it_was_fitted_to(tiny, monkeypatch):
    monkeypatch.setattr("glmhmm_assets.automation.why_due", lambda *_: None)
    assert isinstance(tiny.sunday(), dg.SkipReason)


def test_the_population_is_fitted_again_when_files_arrived_since(tiny, monkeypatch):
    monkeypatch.setattr("glmhmm_assets.automation.why_due", lambda *_: None)
    tiny.home.write("a", seed=9)
    files = scan_sessions(tiny.home.study).subjects["a"]
    tiny.home.instance.report_runless_asset_event(arrived(tiny.home.study, files))
    for name in ORDER[1:]:
        tiny.made(name, "a")
    assert tiny.outdated() == []
    assert tiny.sunday().tags["dagster/asset_partition_range_end"] == "c"


def test_changed_files_make_their_subject_outdated(tiny):
    tiny.home.write("b", seed=9)
    assert tiny.outdated() == ["b"]


def test_files_that_are_gone_make_nobody_outdated(tiny):
    (tiny.home.sessions / "b.csv").unlink()
    assert tiny.outdated() == []


def test_a_new_subject_is_outdated(tiny):
    tiny.home.write("d", seed=4)
    tiny.home.add("d")
    assert tiny.outdated() == ["d"]


def test_changed_settings_make_everyone_outdated(tiny):
    tiny.home.edit("n_restarts = 2", "n_restarts = 3")
    assert tiny.outdated() == ["a", "b", "c"]


def test_changed_code_makes_everyone_outdated(tiny, monkeypatch):
    monkeypatch.setattr(up_to_date, "code_version", lambda *_: "other")
    assert tiny.outdated() == ["a", "b", "c"]


def test_another_fit_of_the_population_makes_everyone_outdated(tiny):
    tiny.made("population_fit", None)
    assert tiny.outdated() == ["a", "b", "c"]


def test_a_step_that_failed_makes_its_subjects_outdated(tiny):
    tiny.made("subject_fits", "c")
    tiny.made("fit_tracking", "c")  # weights are missing in between
    assert tiny.outdated() == ["c"]


def test_a_stored_file_that_is_missing_makes_its_subject_outdated(tiny):
    tiny.fits("a").unlink()
    assert tiny.outdated() == ["a"]


def test_a_stored_file_that_somebody_changed_makes_its_subject_outdated(tiny):
    later = tiny.fits("b").stat().st_mtime + 3600
    os.utime(tiny.fits("b"), (later, later))
    assert tiny.outdated() == ["b"]


def test_a_partition_that_is_no_name_is_up_to_date_too(tiny):
    tiny.home.add("no/name")
    stem = stem_of("no/name")
    tiny.fits(stem).write_bytes(b"none")
    (tiny.storage("state_matches") / f"{stem}.parquet").write_bytes(b"none")
    for name in ORDER[1:]:
        tiny.made(name, "no/name")
    assert tiny.outdated() == []


def test_subjects_come_in_the_order_of_their_partitions(tiny):
    tiny.home.write("0", seed=4)
    tiny.home.add("0")
    tiny.home.edit("n_restarts = 2", "n_restarts = 3")
    assert tiny.outdated() == known_subjects(tiny.home.study, tiny.home.instance)
    assert tiny.outdated()[-1] == "0"
