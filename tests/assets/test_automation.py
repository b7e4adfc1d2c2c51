"""The cohort's assets are made once for one change, after the subjects' run."""

import dagster as dg
import pytest

from glmhmm_assets.partitions import STUDY_TAG, range_tags


class Daemon:
    """The cohort's sensor of the tiny study, tick by tick."""

    def __init__(self, home) -> None:
        self.home, self.cursor = home, None
        self.defs = home.definitions()
        self.graph = self.defs.resolve_asset_graph()
        keys = self.graph.executable_asset_keys
        self.cohort = {key for key in keys if self.graph.get(key).automation_condition}
        self.per_subject = {key for key in keys if self.graph.get(key).is_partitioned}

    def tick(self) -> set[str]:
        """Names of what is asked for now."""
        result = dg.evaluate_automation_conditions(
            defs=self.defs,
            instance=self.home.instance,
            cursor=self.cursor,
            asset_selection=dg.AssetSelection.assets(*self.cohort),
        )
        self.cursor = result.cursor
        return {key.path[-1] for key in self.cohort if result.get_num_requested(key)}

    def start_run(self) -> dg.DagsterRun:
        """Start the run over all subjects that the session files' sensor asks for."""
        job = self.defs.resolve_implicit_global_asset_job_def()
        tags = {**range_tags(["a", "b"], ["a", "b"]), STUDY_TAG: "tiny"}
        return self.home.instance.create_run_for_job(
            job.get_subset(asset_selection=self.per_subject),
            tags=tags,
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset(self.per_subject),
        )

    def made(self, *keys: dg.AssetKey) -> None:
        """Record that assets were made, of all subjects where they have any."""
        for key in keys:
            for subject in ("a", "b") if key in self.per_subject else (None,):
                self.home.instance.report_runless_asset_event(
                    dg.AssetMaterialization(key, partition=subject)
                )


@pytest.fixture
def daemon(make_home):
    home = make_home(a=1, b=2)
    home.add("a", "b")
    daemon = Daemon(home)
    assert daemon.tick() == set()
    return daemon


def key(name):
    return dg.AssetKey(["tiny", name])


def test_the_cohort_waits_for_the_end_of_the_subjects_run_and_is_then_made_at_once(daemon):
    run = daemon.start_run()
    early = [key(name) for name in ("cleaned_sessions", "subject_fits")]
    daemon.made(*early)
    assert daemon.tick() == set()
    daemon.made(*daemon.per_subject)
    daemon.home.instance.report_run_failed(run)  # whichever way it ended
    assert daemon.tick() == {one.path[-1] for one in daemon.cohort}
    assert daemon.tick() == set()


def test_the_cohort_is_made_of_a_run_that_failed_before_its_end(daemon):
    run = daemon.start_run()
    daemon.made(key("cleaned_sessions"), key("subject_fits"))
    daemon.home.instance.report_run_failed(run)
    assert {"cohort_summary", "cohort_figures"} <= daemon.tick()


def test_what_the_cohort_lacks_of_its_own_stage_is_not_taken_for_there(daemon):
    daemon.made(key("subject_fits"), key("cohort_summary"), key("state_choice"))
    assert "cohort_tracking" not in daemon.tick()
