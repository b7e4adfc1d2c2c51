"""The stage that logs fits, on a real study: links, renewal, and subjects that are left out."""

import warnings

import dagster as dg
import pytest

from glmhmm_assets.definitions import subject_assets
from glmhmm_assets.defs.ingest import build_raw_sessions
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_assets.partitions import known_subjects, range_tags
from glmhmm_assets.resources.tracker import MlflowTracker

pytestmark = pytest.mark.slow

STAGES = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits", "fit_tracking")


@pytest.fixture
def tracker(tmp_path):
    return MlflowTracker(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_root=str(tmp_path / "artifacts")
    )


def run(home, tracker):
    """Run the stages up to the tracking; give its metadata by subject."""
    known = known_subjects(home.study, home.instance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        result = dg.materialize(
            [build_raw_sessions(home.study), *subject_assets(home.study)],
            selection=[dg.AssetKey(["tiny", name]) for name in STAGES],
            instance=home.instance,
            resources={**build_io_managers(home.folder), "tracker": tracker},
            tags=range_tags(known, known),
        )
    return home.metadata(result, "fit_tracking")


def current_runs(tracker):
    """Ids of the MLflow runs that count, by subject."""
    client = tracker.prepare()
    experiment = client.get_experiment_by_name("tiny").experiment_id
    found = {}
    for one in client.search_runs([experiment], "tags.superseded = 'false'"):
        found.setdefault(one.data.tags["subject"], set()).add(one.info.run_id)
    return found


def test_a_changed_subject_gets_new_runs_and_the_others_keep_theirs(make_home, tracker):
    home = make_home(ann=1, ben=2)
    home.add("ann", "ben")
    told = run(home, tracker)
    first = current_runs(tracker)
    assert {subject: len(runs) for subject, runs in first.items()} == {"ann": 2, "ben": 2}
    for subject, metadata in told.items():
        assert metadata["runs_new"] == 2
        linked = {metadata[f"mlflow_K{k}"] for k in (1, 2)}
        assert all(any(run_id in url for url in linked) for run_id in first[subject])

    home.write("ben", seed=3)
    told = run(home, tracker)
    second = current_runs(tracker)
    assert second["ann"] == first["ann"]
    assert not second["ben"] & first["ben"]
    assert {subject: metadata["runs_new"] for subject, metadata in told.items()} == {
        "ann": 0,
        "ben": 2,
    }


def test_a_subject_that_is_left_out_has_no_current_run_any_more(make_home, tracker):
    home = make_home(ann=1, ben=2)
    home.add("ann", "ben")
    run(home, tracker)
    home.edit("[model]", '[[exclude]]\nsubject = "ben"\nreason = "fell ill"\n\n[model]')
    told = run(home, tracker)
    assert "fell ill" in told["ben"]["excluded"]
    assert set(current_runs(tracker)) == {"ann"}
    client = tracker.prepare()
    (experiment,) = (e for e in client.search_experiments() if e.name == "tiny")
    old = client.search_runs([experiment.experiment_id], "tags.subject = 'ben'")
    assert all("fell ill" in one.data.tags["superseded_by"] for one in old)
