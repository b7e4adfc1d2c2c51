"""The graph end to end on small studies: bad subjects, changed files, killed runs, the cohort."""

import os
from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glmhmm_assets.defs.cohort import build_cohort
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_core.fitting.result import Excluded

pytestmark = pytest.mark.slow

FIGURES = (
    "em_traces",
    "weights",
    "transition_matrix",
    "session_posteriors",
    "state_dynamics",
    "psychometrics",
    "heldout_bits",
)
TABLES = ("trial_table", "weight_table")
UPTO_FITS = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits")


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def fitted_now(home, result) -> set[str]:
    """Subjects whose fits a run made, not found."""
    facts = home.metadata(result, "subject_fits")
    return {s for s, f in facts.items() if "from_store" not in f and "excluded" not in f}


def test_bad_subjects_are_left_out_with_their_reason_and_fail_nobody(make_home):
    home = make_home(a=1)
    home.write("mouse ü.1", seed=3)
    one_word = (home.sessions / "a.csv").read_text().splitlines()[:2]
    one_word[1] = "zwei,s00,loud,1,1"  # a subject of one trial that is no number
    (home.sessions / "z2.csv").write_text("\n".join(one_word))
    (home.sessions / "torn.csv").write_bytes(b"subject,session\n\xff\xfe\x00")
    home.write("tired", seed=4)
    with home.file.open("a") as file:
        file.write('[[exclude]]\nsubject = "tired"\nreason = "fell asleep"\n')
        file.write('[[exclude]]\nsubject = "a"\nsession = "s01"\nreason = "stuck wheel"\n')
    home.add("tired", "nobody", "a", "zwei", "mouse ü.1")

    result = home.run()
    assert result.success
    good = {"a", "mouse ü.1"}
    for asset in ("subject_fits", *TABLES, *FIGURES):
        facts = home.metadata(result, asset)
        assert set(facts) == good | {"tired", "nobody", "zwei"}, asset
        assert {s for s, f in facts.items() if "excluded" not in f} == good, asset
        assert facts["tired"]["excluded"].count("fell asleep") == 1, asset

    for asset in ("cleaned_sessions", "design_tensors", "subject_fits", *TABLES):
        for subject in ("tired", "nobody", "zwei"):
            stored = home.stored(asset, subject)
            assert isinstance(stored, Excluded), (asset, subject)
            assert stored.subject == subject
        for subject in good:
            assert not isinstance(home.stored(asset, subject), Excluded)
    assert checks(result) == {
        "files_usable": False,
        "choices_in_range": True,
        "stimuli_in_range": True,
        "data_plausible": True,
        "subjects_fitted": False,
        "objective_never_decreasing": True,
        "converged": True,
        "restarts_agree": True,
        "optimum_unambiguous": True,
        "states_occupied": True,
        "refits_promoted": True,
        "data_suffice": True,
        "parameters_determined": True,
    }

    # What was excluded by hand stands in the report, and is not in the data.
    report = home.stored("cleaning_report", "a")
    assert report.filter(session="s01")["reason"].to_list() == ["excluded by hand: stuck wheel"]
    table = home.stored("cleaned_sessions", "a")
    assert table["session"].unique().sort().to_list() == ["s00", "s02", "s03"]
    assert home.metadata(result, "cleaned_sessions")["a"]["sessions"] == 3

    # Fits are of the study's models on the subject's own trials, in its own order.
    fits = home.stored("subject_fits", "mouse ü.1")
    assert [fit.num_states for fit in fits.fits] == [1, 2]
    written = pl.read_csv(home.sessions / "mouse ü.1.csv")
    np.testing.assert_array_equal(fits[2].y, written["choice"])
    trials = home.stored("trial_table", "mouse ü.1").filter(num_states=2)
    assert trials["choice"].to_list() == written["choice"].to_list()

    # Pictures are there, and only of those who have fits.
    for name in FIGURES:
        shown = home.metadata(result, name)["a"]
        assert shown["picture"].startswith(f"![{name}](/pictures/tiny/figures/a/{name}.png)")
        full = home.folder / "storage" / "tiny" / "figures" / "a" / f"{name}.png"
        assert full.read_bytes().startswith(b"\x89PNG")
        assert not (full.parents[1] / "tired").exists()


def test_what_is_there_is_neither_fitted_nor_drawn_again(make_home, monkeypatch):
    home = make_home(a=1, b=2)
    home.add("a", "b")
    shown = ("em_traces", "weights")
    made = [*UPTO_FITS, *TABLES, *shown]
    first = home.run(assets=made)
    assert fitted_now(home, first) == {"a", "b"}
    pictures = {
        path: path.stat().st_mtime_ns for path in (home.folder / "storage/tiny").rglob("*.png")
    }
    assert len(pictures) == 2 * len(shown)
    before = home.stored("trial_table", "a")

    again = home.run(assets=made)
    assert fitted_now(home, again) == set()
    assert all(path.stat().st_mtime_ns == time for path, time in pictures.items())
    assert_frame_equal(home.stored("trial_table", "a"), before)

    # Another rule for the states' labels fits nothing anew, and draws what shows them.
    with monkeypatch.context() as patch:
        patch.setattr("glmhmm_core.states.labels.CLEAR", 1e9)
        result = home.run(assets=["subject_fits", "weight_table", "weights", "em_traces"])
    assert fitted_now(home, result) == set()
    redrawn = {path.stem for path, time in pictures.items() if path.stat().st_mtime_ns != time}
    assert redrawn == {"weights"}

    # A corrected file fits its subject alone, though the run goes over both; a return to the
    # earlier state finds the earlier fit.
    home.write("b", seed=5)
    assert fitted_now(home, home.run(assets=UPTO_FITS)) == {"b"}
    home.write("b", seed=2)
    assert fitted_now(home, home.run(assets=UPTO_FITS)) == set()

    # Another setting is another fit.
    home.edit("n_restarts = 2", "n_restarts = 3")
    assert fitted_now(home, home.run(assets=UPTO_FITS)) == {"a", "b"}
    home.edit("n_restarts = 3", "n_restarts = 2")

    # A subject that is left out from now on loses its pictures, and the other keeps its own.
    with home.file.open("a") as file:
        file.write('[[exclude]]\nsubject = "b"\nreason = "escaped"\n')
    assert home.run(assets=made).success
    owners = {path.parent.name for path in (home.folder / "storage/tiny").rglob("*.png")}
    assert owners == {"a"}
    assert "escaped" in home.stored("weight_table", "b").reason


def test_a_killed_run_goes_on_where_it_stopped(make_home, monkeypatch):
    home = make_home(a=1, b=2, c=3)
    home.edit("num_states = [1, 2]", "num_states = [1]")
    home.add("a", "b", "c")

    class Killed(BaseException):
        pass

    keep = FitStore.keep

    def keep_one_then_die(store, fits, inputs):
        if fits.subject == "b":
            raise Killed
        keep(store, fits, inputs)

    monkeypatch.setattr(FitStore, "keep", keep_one_then_die)
    with pytest.raises(Killed):
        home.run(assets=UPTO_FITS)
    assert not list((home.folder / "storage/tiny").glob("subject_fits/*"))
    monkeypatch.setattr(FitStore, "keep", keep)
    assert fitted_now(home, home.run(assets=UPTO_FITS)) == {"b", "c"}


def test_one_subject_can_be_made_alone_from_the_ui(make_home):
    """A run for one partition has no range tags."""
    home = make_home(a=1, b=2)
    home.edit("num_states = [1, 2]", "num_states = [1]")
    home.add("a", "b")
    result = home.run_one("b")
    assert result.success
    assert set(home.metadata(result, "trial_table")) == {"b"}
    assert home.metadata(result, "subject_fits")["b"]["converged"] is True


def test_stored_trials_stay_while_files_are_gone_or_being_written(make_home):
    home = make_home(a=1, b=2, c=3)
    home.add("a", "b", "c")
    upto = ["cleaned_sessions", "cleaning_report", "design_tensors"]
    home.run(assets=upto)
    before = {s: home.stored("cleaned_sessions", s) for s in "abc"}

    (home.sessions / "a.csv").unlink()
    home.write("b", seed=7)
    home.write("c", seed=7)
    os.utime(home.sessions / "c.csv", (0, 0))
    home.edit("quiet_seconds = 0", "quiet_seconds = 3600")
    result = home.run(assets=upto)
    facts = home.metadata(result, "cleaned_sessions")
    assert "no session files any more" in facts["a"]["kept"]
    assert "being written" in facts["b"]["kept"]
    assert "kept" not in facts["c"]
    for subject in "ab":
        assert_frame_equal(home.stored("cleaned_sessions", subject), before[subject])
        assert not isinstance(home.stored("design_tensors", subject), Excluded)
    assert not home.stored("cleaned_sessions", "c").equals(before["c"])
    assert checks(result)["files_usable"]


def test_an_error_nobody_foresaw_leaves_out_its_subject_alone(make_home, monkeypatch):
    from glmhmm_core.design import build

    home = make_home(a=1, b=2)
    home.add("a", "b")
    make = build.build_design

    def fragile(cleaned, task):
        if cleaned["subject"][0] == "a":
            raise ZeroDivisionError("what now")
        return make(cleaned, task)

    monkeypatch.setattr(build, "build_design", fragile)
    result = home.run(assets=["cleaned_sessions", "cleaning_report", "design_tensors"])
    assert result.success
    assert "unexpected ZeroDivisionError: what now" in home.stored("design_tensors", "a").reason
    assert home.stored("design_tensors", "b").subject == "b"


def test_a_missing_folder_fails_the_run_with_its_name_and_loses_nothing(make_home):
    home = make_home(a=1)
    home.add("a")
    upto = ["cleaned_sessions", "cleaning_report"]
    home.run(assets=upto)
    home.sessions.rename(home.folder / "elsewhere")
    result = home.run(assets=upto, raise_on_error=False)
    assert not result.success
    error = result.all_node_events
    assert any(str(home.sessions) in str(event.event_specific_data) for event in error)
    assert not isinstance(home.stored("cleaned_sessions", "a"), Excluded)


def test_the_cohort_is_over_those_that_are_there_and_counts_the_others(make_home, monkeypatch):
    drawn = {}
    draw = Gallery.draw

    def noted(gallery, who, name, function, arguments):
        drawn[name] = arguments
        return draw(gallery, who, name, function, arguments)

    monkeypatch.setattr(Gallery, "draw", noted)
    home = make_home(a=1, b=2, c=3, d=4)
    home.add("a", "b", "c", "d")
    with home.file.open("a") as file:
        file.write('[[exclude]]\nsubject = "b"\nreason = "escaped"\n')
    home.run(["a", "c"], UPTO_FITS)  # d has no fits yet
    result = home.run_cohort()
    assert result.success
    summary = home.stored_cohort()
    assert summary.filter(pl.col("excluded").is_null())["subject"].unique().sort().to_list() == [
        "a",
        "c",
    ]
    (reason,) = summary.filter(subject="b")["excluded"]
    assert "escaped" in reason
    names = {path.stem for path in (home.folder / "storage/tiny/cohort/figures/tiny").iterdir()}
    assert names == {"weights", "transitions", "occupancy", "psychometrics", "heldout_bits"}
    facts = {
        key: value
        for event in result.get_asset_materialization_events()
        for key, value in event.materialization.metadata.items()
    }
    assert facts["subjects"].value == 2
    assert facts["left_out"].value == 1
    assert facts["weights_picture"].value.startswith("![weights]")

    assert drawn["weights"][-1] == drawn["heldout_bits"][-1] == {"without fits": ["b"]}

    # Who does not count any more is not in it, though its fits are kept; who did not converge is
    # in the table alone.
    home.edit("[model]", '[subjects]\ninclude = ["a", "c", "d"]\n\n[model]')
    fits = home.stored("subject_fits", "c")
    lost = [replace(f, restart_converged=np.zeros_like(f.restart_converged)) for f in fits.fits]
    file = home.folder / "storage/tiny/subject_fits/c.npz"
    build_io_managers(home.folder)["fits"].write(replace(fits, fits=tuple(lost)), file)
    home.run_cohort()
    assert home.stored_cohort()["subject"].unique().sort().to_list() == ["a", "c"]
    unfinished = {"whose fit did not converge": ["c"]}
    for name in ("weights", "occupancy", "psychometrics", "transitions"):
        assert drawn[name][-1] == unfinished
        assert drawn[name][0]["subject"].unique().to_list() == ["a"]


def test_the_cohort_of_nobody_is_no_error(make_home):
    home = make_home()
    result = home.run_cohort()
    assert result.success
    assert home.stored_cohort().is_empty()


def test_the_cohort_is_made_after_a_run_and_only_then(make_home):
    home = make_home(a=1, b=2, c=3)
    home.add("a", "b", "c")
    instance = home.instance
    defs = home.definitions()
    everything = {"cohort_summary", "cohort_figures"}
    cursor = None

    def tick() -> set[str]:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(
            defs=defs,
            instance=instance,
            cursor=cursor,
            asset_selection=dg.AssetSelection.assets(*build_cohort(home.study)),
        )
        cursor = result.cursor
        asked = {
            name for name in everything if result.get_num_requested(dg.AssetKey(["tiny", name]))
        }
        for name in asked:  # as if its run succeeded
            made(name)
        return asked

    def made(name: str, *subjects: str) -> None:
        for subject in subjects or (None,):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(["tiny", name], partition=subject)
            )

    assert tick() == set()  # nothing is there yet
    made("cleaned_sessions", "a", "b")
    made("subject_fits", "a", "b")  # c has none, for whatever reason
    assert tick() == everything
    assert tick() == set()
    assert tick() == set()
    made("subject_fits", "b")
    assert tick() == everything
    assert tick() == set()
