"""The sensor: what it asks for, what it leaves, and that it never asks for ever."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmhmm_assets.partitions import STUDY_TAG, known_subjects
from glmhmm_assets.sensor_memory import Memory, MemoryFiles
from glmhmm_assets.study import load_study
from glmhmm_assets.watching import look, plan, remember
from glmhmm_core.errors import InputError
from glmhmm_core.trials.report import report_frame
from glmhmm_core.trials.scan import Scan, SubjectFiles

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


KEY = dg.AssetKey(["tiny", "one"])


@dataclass
class Watch:
    """The sensor of the tiny study: looks, and does with the result what the daemon does."""

    home: object
    cursor: str | None = None
    keys: list = field(default_factory=list)
    everyone: bool = False

    def look(self, later: float = 0.0) -> dg.SensorResult:
        instance = self.home.instance
        log = logging.getLogger("test")
        now = time.time() + later

        def select(_: Sequence[str]) -> tuple[list[dg.AssetKey], bool]:
            return [KEY], self.everyone

        result = look(self.home.study, instance, self.cursor, log, now, select)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        for event in result.asset_events:
            instance.report_runless_asset_event(event)
        self.keys += [request.run_key for request in result.run_requests or []]
        assert len(set(self.keys)) == len(self.keys), "Dagster would never start this run"
        return result


def asked(result: dg.SensorResult) -> tuple[str, str] | None:
    """First and last subject of the run asked for."""
    if not result.run_requests:
        return None
    (request,) = result.run_requests
    return request.tags[START], request.tags[END]


@pytest.fixture
def watch(make_home):
    def watch(**subjects: int) -> Watch:
        return Watch(make_home(**subjects))

    return watch


def test_a_run_that_makes_the_pooled_fit_goes_over_all_subjects(watch):
    tiny = watch(a=1, b=2, c=3)
    tiny.look()
    tiny.home.write("b", seed=9)
    tiny.everyone = True
    assert asked(tiny.look()) == ("a", "c")


def test_all_new_subjects_become_partitions_and_one_run(watch):
    tiny = watch(b=1, a=2, c=3)
    first = tiny.look()
    assert asked(first) == ("a", "c")
    assert first.run_requests[0].tags[STUDY_TAG] == "tiny"
    assert known_subjects(tiny.home.study, tiny.home.instance) == ["a", "b", "c"]
    events = {event.partition: event for event in first.asset_events}
    assert set(events) == {"a", "b", "c"}
    assert len({e.tags["dagster/data_version"] for e in events.values()}) == 3
    assert events["a"].metadata["files"].value == 1


def test_nothing_new_asks_for_nothing(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    again = tiny.look()
    assert asked(again) is None
    assert not again.asset_events
    assert again.skip_reason.skip_message == "2 subjects, nothing new"


def test_only_the_changed_subject_is_asked_for(watch):
    tiny = watch(a=1, b=2, c=3)
    tiny.look()
    tiny.home.write("b", seed=9)
    result = tiny.look()
    assert asked(result) == ("b", "b")
    assert [event.partition for event in result.asset_events] == ["b"]


def test_a_new_subject_comes_last_in_the_range(watch):
    tiny = watch(b=1, c=2)
    tiny.look()
    tiny.home.write("a", seed=3)
    assert asked(tiny.look()) == ("a", "a")
    tiny.home.write("c", seed=4)
    tiny.home.write("a", seed=4)
    assert asked(tiny.look()) == ("c", "a")  # partitions are b, c, a


def test_touching_a_file_changes_nothing(watch):
    tiny = watch(a=1)
    tiny.look()
    path = tiny.home.sessions / "a.csv"
    path.write_bytes(path.read_bytes())
    assert asked(tiny.look()) is None


def test_a_file_is_left_until_it_is_quiet(watch):
    tiny = watch(a=1)
    tiny.home.edit("quiet_seconds = 0", "quiet_seconds = 30")
    result = tiny.look()
    assert asked(result) is None
    assert "still being written: a" in result.skip_reason.skip_message
    assert known_subjects(tiny.home.study, tiny.home.instance) == []
    assert asked(tiny.look(later=31)) == ("a", "a")


def test_a_copy_with_an_old_time_is_left_while_it_grows(watch):
    tiny = watch(a=1, b=2)
    tiny.home.edit("quiet_seconds = 0", "quiet_seconds = 30")
    assert asked(tiny.look(later=100)) == ("a", "b")
    tiny.home.write("a", seed=5)
    assert asked(tiny.look(later=200)) is None
    tiny.home.write("a", seed=6)
    assert asked(tiny.look(later=300)) is None
    assert asked(tiny.look(later=400)) == ("a", "a")


def test_a_time_in_the_future_does_not_wait_for_ever(watch):
    tiny = watch(a=1)
    tiny.home.edit("quiet_seconds = 0", "quiet_seconds = 30")
    assert asked(tiny.look(later=-3600)) == ("a", "a")


def test_files_that_return_to_an_earlier_state_are_fitted_again(watch):
    tiny = watch(a=1)
    tiny.look()
    for seed in (2, 1, 2, 1):
        tiny.home.write("a", seed=seed)
        assert asked(tiny.look()) == ("a", "a")  # Watch checks that no run key comes twice


def test_a_removed_session_and_a_renamed_file(watch):
    tiny = watch(a=1)
    tiny.look()
    whole = pl.read_csv(tiny.home.sessions / "a.csv")
    whole.filter(pl.col("session") != "s01").write_csv(tiny.home.sessions / "a.csv")
    assert asked(tiny.look()) == ("a", "a")
    (tiny.home.sessions / "a.csv").rename(tiny.home.sessions / "z.csv")
    assert asked(tiny.look()) == ("a", "a")  # the rows say who it is


def test_a_vanished_subject_is_reported_once_and_kept(watch, caplog):
    tiny = watch(a=1, b=2)
    tiny.look()
    path = tiny.home.sessions / "b.csv"
    content = path.read_bytes()
    path.unlink()
    result = tiny.look()
    assert asked(result) is None
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetObservation)
    assert event.partition == "b"
    assert "without files now: b" in result.skip_reason.skip_message
    assert "b has no session files any more" in caplog.text
    assert known_subjects(tiny.home.study, tiny.home.instance) == ["a", "b"]
    assert not tiny.look().asset_events

    path.write_bytes(content)  # back as it was: there is nothing to do
    assert asked(tiny.look()) is None
    path.unlink()
    assert len(tiny.look().asset_events) == 1  # and gone again is told again


def test_a_vanished_subject_that_returns_changed_is_fitted(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    (tiny.home.sessions / "b.csv").unlink()
    tiny.look()
    tiny.home.write("b", seed=7)
    assert asked(tiny.look()) == ("b", "b")


def test_changed_settings_fit_everyone(watch):
    tiny = watch(a=1, b=2, c=3)
    tiny.look()
    tiny.home.edit("n_restarts = 2", "n_restarts = 3")
    assert asked(tiny.look()) == ("a", "c")
    tiny.home.edit('title = "Tiny"', 'title = "Another"')
    assert asked(tiny.look()) is None


def test_settings_that_change_while_a_file_is_written_reach_it_too(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    tiny.home.edit("quiet_seconds = 0", "quiet_seconds = 1000")
    tiny.home.edit("n_restarts = 2", "n_restarts = 3")
    path = tiny.home.sessions / "b.csv"
    os.utime(tiny.home.sessions / "a.csv", (0, 0))
    path.touch()
    assert asked(tiny.look()) == ("a", "a")
    assert asked(tiny.look(later=2000)) == ("b", "b")


def test_a_broken_study_file_fails_the_tick_with_its_message(watch):
    tiny = watch(a=1)
    tiny.home.edit("n_restarts = 2", "n_restart = 2")
    with pytest.raises(InputError, match="Did you mean 'n_restarts'"):
        tiny.look()


def test_a_missing_folder_fails_the_tick_and_forgets_nothing(watch):
    tiny = watch(a=1)
    tiny.look()
    before = tiny.cursor
    tiny.home.sessions.rename(tiny.home.folder / "elsewhere")
    with pytest.raises(InputError):
        tiny.look()
    assert tiny.cursor == before
    (tiny.home.folder / "elsewhere").rename(tiny.home.sessions)
    assert asked(tiny.look()) is None


def launch(tiny: Watch, status: dg.DagsterRunStatus) -> str:
    """Put a run of the study into the instance, as the daemon would."""
    run = tiny.home.instance.create_run_for_job(
        dg.define_asset_job("j").resolve(
            asset_graph=dg.Definitions(assets=[dg.AssetSpec("x"), _some]).resolve_asset_graph()
        ),
        tags={STUDY_TAG: "tiny"},
        status=status,
    )
    return run.run_id


@dg.asset
def _some() -> None: ...


def test_changes_during_a_run_wait_for_its_end_and_go_together(watch):
    tiny = watch(a=1, b=2, c=3)
    tiny.look()
    run_id = launch(tiny, dg.DagsterRunStatus.STARTED)
    tiny.home.write("a", seed=4)
    result = tiny.look()
    assert asked(result) is None
    assert f"wait for run {run_id[:8]}" in result.skip_reason.skip_message
    tiny.home.write("c", seed=5)
    assert asked(tiny.look()) is None
    tiny.home.instance.delete_run(run_id)
    assert asked(tiny.look()) == ("a", "c")


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_failed_run_is_not_asked_for_for_ever_but_can_be(watch, status):
    tiny = watch(a=1, b=2)
    tiny.look()
    launch(tiny, status)
    assert asked(tiny.look()) is None
    tiny.cursor = None  # reset in the UI
    assert asked(tiny.look()) == ("a", "b")


def test_a_partition_deleted_by_hand_comes_back(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    tiny.home.instance.delete_dynamic_partition("tiny_subjects", "a")
    assert asked(tiny.look()) == ("a", "a")


def test_unusable_files_are_told_once(watch, caplog):
    tiny = watch(a=1)
    bad = tiny.home.sessions / "bad.csv"
    bad.write_text("this,is\nno,session\n")
    tiny.look()
    assert "bad.csv" in caplog.text
    caplog.clear()
    tiny.look()
    assert "bad.csv" not in caplog.text


def test_a_name_that_nobody_has_is_told(watch, caplog):
    tiny = watch(a=1)
    tiny.home.edit("[model]", '[subjects]\ninclude = ["a", "A2"]\n\n[model]')
    with tiny.home.file.open("a") as file:
        file.write('[[exclude]]\nsubject = "a"\nsession = "s01"\nreason = "r"\n')
        file.write('[[exclude]]\nsubject = "tpyo"\nreason = "r"\n')
    tiny.look()
    assert "A2: the study includes it, but there is no such subject" in caplog.text
    assert "tpyo: the study excludes it, but there is no such subject" in caplog.text
    assert "a: the study" not in caplog.text


def test_a_subject_that_is_not_included_is_not_asked_for(watch):
    tiny = watch(a=1, b=2)
    tiny.home.edit("[model]", '[subjects]\ninclude = ["b"]\n\n[model]')
    assert asked(tiny.look()) == ("b", "b")


# --- the rules at large, without files ---------------------------------------------------------


def scan_of(content: dict[str, str]) -> Scan:
    """A scan of subjects with this content, quiet for ages."""
    return Scan({s: SubjectFiles(s, (), d, 0.0) for s, d in content.items()}, report_frame([]))


contents = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("xyz"), min_size=1)


@settings(deadline=None)
@given(st.lists(contents, min_size=1, max_size=12), st.sampled_from([0.0, 30.0]))
def test_what_was_asked_for_last_is_what_is_there_once_files_rest(tmp_path_factory, story, quiet):
    """Whatever happens to files, two looks after the last change everything there was asked for."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "t.toml").write_text(
        'title = "t"\ntask = "two_afc"\n[sessions]\npath = "p"\nformat = "csv"\n'
        f"quiet_seconds = {quiet}\n"
    )
    study = load_study(folder / "t.toml")
    files = MemoryFiles(folder / "memory")
    memory, known, fitted = Memory(), [], {}
    for content in [*story, story[-1], story[-1]]:
        found = scan_of(content)
        looked = plan(study, found, memory, known, "settings", now=1e6)
        for one in looked.refit:
            assert fitted.get(one.subject) != one.digest, "asked for twice"
            fitted[one.subject] = one.digest
        known += looked.new
        memory = remember(memory, found, "settings", looked, asks=bool(looked.refit))
        memory = files.read(files.write(memory, None))
    assert {s: fitted[s] for s in story[-1]} == story[-1]
    assert set(memory.vanished) == set(known) - set(story[-1])
    assert not plan(study, scan_of(story[-1]), memory, known, "settings", 1e6).refit


def went_through(tiny, subject, settings=None):
    """Record what a run that went through the whole graph leaves of a subject."""
    digest = settings or tiny.home.study.settings_digest()
    tiny.home.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            dg.AssetKey(["tiny", "fit_tracking"]),
            partition=subject,
            metadata={"settings": digest},
        )
    )


def test_a_sensor_without_a_memory_leaves_alone_who_is_done(watch):
    tiny = watch(a=1, b=2, c=3)
    tiny.look()
    went_through(tiny, "a")
    went_through(tiny, "b", settings="others")
    tiny.cursor = None
    assert asked(tiny.look()) == ("b", "c")
    went_through(tiny, "b")
    went_through(tiny, "c")
    tiny.cursor = None
    assert asked(tiny.look()) is None
    tiny.home.write("a", seed=9)
    assert asked(tiny.look(later=60)) == ("a", "a")


def test_content_that_came_after_the_last_run_is_asked_for(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    went_through(tiny, "a")
    went_through(tiny, "b")
    tiny.home.write("b", seed=5)
    tiny.cursor = None
    assert asked(tiny.look()) == ("b", "b")
    tiny.cursor = None  # its run failed
    assert asked(tiny.look()) == ("b", "b")


def test_a_sensor_without_a_memory_waits_for_the_run_that_shows_who_is_done(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    run_id = launch(tiny, dg.DagsterRunStatus.STARTED)
    tiny.cursor = None
    result = tiny.look()
    assert asked(result) is None
    assert f"waiting for run {run_id[:8]}" in result.skip_reason.skip_message
    went_through(tiny, "a")
    went_through(tiny, "b")
    tiny.home.instance.delete_run(run_id)
    assert asked(tiny.look()) is None


def test_the_cursor_and_the_words_of_a_look_do_not_grow_with_the_subjects(watch):
    tiny = watch(**{f"mouse_{i:03d}": i for i in range(60)})
    tiny.home.edit("quiet_seconds = 0", "quiet_seconds = 1000")
    result = tiny.look()
    assert len(result.skip_reason.skip_message) < 200
    assert result.skip_reason.skip_message.endswith("mouse_004 and 55 more")
    assert len(result.cursor) == 64


def test_a_look_that_is_killed_before_its_cursor_is_stored_forgets_nothing(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    before = tiny.cursor
    tiny.home.write("b", seed=9)
    assert asked(tiny.look()) == ("b", "b")
    tiny.cursor, tiny.keys = before, []
    assert asked(tiny.look()) == ("b", "b")


def test_a_deleted_memory_leaves_alone_who_is_done(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    went_through(tiny, "a")
    for file in (tiny.home.folder / "storage/tiny/sensor").iterdir():
        file.unlink()
    assert asked(tiny.look()) == ("b", "b")


def test_a_home_that_moved_keeps_its_memory(watch):
    tiny = watch(a=1, b=2)
    tiny.look()
    tiny.home.folder = tiny.home.folder.rename(tiny.home.folder.with_name("moved"))
    assert asked(tiny.look()) is None


def test_a_memory_that_cannot_be_written_fails_the_look_with_its_place(watch, monkeypatch):
    tiny = watch(a=1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(InputError, match="No space left on device"):
        tiny.look()
    assert tiny.cursor is None
