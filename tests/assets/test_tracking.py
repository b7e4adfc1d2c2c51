"""The stage that logs fits, on a real study: links, renewal, and subjects that are left out."""

import warnings

import dagster as dg
import polars as pl
import pytest
from conftest import simulate

from glmhmm_assets.definitions import subject_assets
from glmhmm_assets.defs.findings import findings
from glmhmm_assets.defs.ingest import build_raw_sessions
from glmhmm_assets.defs.tracking import build_cohort_tracking
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_assets.partitions import known_subjects, range_tags
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.standing import refit_log
from glmhmm_core.comparison.selection import choose_for_cohort
from glmhmm_core.fitting.result import Excluded

pytestmark = pytest.mark.slow

STAGES = ("cleaned_sessions", "cleaning_report", "design_tensors", "subject_fits", "fit_tracking")


@pytest.fixture
def tracker(tmp_path):
    return MlflowTracker(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_root=str(tmp_path / "artifacts")
    )


COMPARISON = pl.DataFrame(
    {
        "model": ["glm", "glmhmm", "lapse_class"],
        "num_states": [1, 2, 1],
        "gain_over_glm": [None, 0.25, 0.125],
        "gain_over_glm_se": [None, 0.5, 0.5],
        "prospective_gain": [None, -0.25, 0.25],
        "prospective_gain_se": [None, 0.5, 0.5],
        "prospective_bits_per_trial": [0.5, 0.25, 0.75],
        "converged": [True, False, True],
    }
)


def store(home, name, table):
    """Put a table where the graph keeps it."""
    path = home.folder / "storage" / "tiny" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    build_io_managers(home.folder)["tables"].write(table, path)


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

    # A table that came later, of one subject, goes into the runs that are there.
    store(home, "model_comparison/ann", COMPARISON)
    home.write("ben", seed=3)
    told = run(home, tracker)
    second = current_runs(tracker)
    assert second["ann"] == first["ann"]
    client = tracker.prepare()
    gains = {
        client.get_run(run_id).data.tags["num_states"]: client.get_run(run_id).data.metrics.get(
            "gain_over_glm"
        )
        for run_id in second["ann"]
    }
    assert gains == {"1": None, "2": 0.25}
    for run_id in second["ann"]:
        (csv,) = client.list_artifacts(run_id, "tables")
        assert csv.path == "tables/model_comparison.csv"
    for run_id in second["ben"]:
        assert client.list_artifacts(run_id, "tables") == []
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


def test_a_refit_that_is_held_has_runs_beside_the_champions(make_home, tracker, monkeypatch):
    home = make_home(ann=1)
    home.edit("num_states = [1, 2]", "num_states = [2]")
    home.add("ann")

    def runs():
        """Tags and metrics of all runs, the oldest first."""
        client = tracker.prepare()
        experiment = client.get_experiment_by_name("tiny").experiment_id
        found = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
        return [one.data for one in found]

    def told(name):
        return [one.tags[name] for one in runs()]

    run(home, tracker)
    assert (told("champion"), told("promotion")) == (["true"], ["promoted"])
    assert "prospective_log_likelihood" not in runs()[0].metrics
    # A new session, and a refit that somebody should look at.
    more = simulate("ann", seed=5, sessions=1).with_columns(session=pl.lit("s04"))
    more.write_csv(home.sessions / "more.csv")
    with monkeypatch.context() as patch:
        patch.setattr("glmhmm_core.comparison.succession.reason_to_hold", lambda _: "it is odd")
        for _ in range(2):
            run(home, tracker)
            assert told("champion") == ["true", "false"]
            assert told("superseded") == ["false", "false"]
    first, second = runs()
    assert second.tags["promotion"] == "held: it is odd"
    assert second.tags["earlier_fingerprint"] == first.tags["fingerprint"]
    (row,) = refit_log(home.study).read("ann").tail(1).iter_rows(named=True)
    for name in ("prospective_log_likelihood", "prospective_bits_per_trial"):
        assert second.metrics[name] == row[name]
    # One that nothing speaks against follows, and only it is the champion.
    home.edit("n_restarts = 2", "n_restarts = 2\nseed = 1")
    run(home, tracker)
    assert told("champion") == ["false", "false", "true"]
    assert told("superseded") == ["true", "true", "false"]


def test_a_table_goes_to_the_models_that_it_is_about():
    errors = pl.DataFrame({"parameter": ["weight", "weight", "initial"], "se": [0.5, None, 2.0]})
    tables = {"model_comparison": COMPARISON, "parameter_errors": errors}
    two = findings(tables, ("glmhmm", 2), [], shown=True)
    assert set(two.tables) == {"model_comparison", "parameter_errors"}
    assert two.metrics == {
        "gain_over_glm": 0.25,
        "gain_over_glm_se": 0.5,
        "prospective_gain": -0.25,
        "prospective_gain_se": 0.5,
        "prospective_bits_per_trial": 0.25,
        "all_converged": 0.0,
        "parameters_unknown": 1.0,
        "largest_weight_se": 0.5,
    }
    sessions = {"model": ["glmhmm_sessions"] * 4, "num_states": [2] * 4}
    sessions |= {"num_switches": [1, 3, 8, 2], "p_kind_0": [0.9, 0.8, 0.1, 1.0]}
    kinds = pl.DataFrame(sessions).with_columns(p_kind_1=1 - pl.col("p_kind_0"))
    of_kinds = findings({"session_kinds": kinds}, ("glmhmm_sessions", 2), [], shown=False)
    assert of_kinds.metrics == {
        "sessions_restless": 0.25,
        "switches_per_restless_session": 8.0,
        "switches_per_calm_session": 2.0,
    }
    assert not findings({"session_kinds": kinds}, ("glmhmm", 2), [], shown=True).tables
    lapse = findings(tables, ("lapse_class", 1), [], shown=False)
    assert set(lapse.tables) == {"model_comparison"}
    assert lapse.metrics["gain_over_glm"] == 0.125
    nothing = findings(
        {"model_comparison": Excluded("a", "no"), "parameter_errors": None}, ("glm", 1), [], True
    )
    assert (dict(nothing.metrics), dict(nothing.tables)) == ({}, {})


def test_what_is_said_of_the_cohort_is_in_runs_until_there_is_nothing(make_home, tracker):
    home = make_home()
    scores = pl.DataFrame(
        [
            {"subject": s, "num_states": k, "heldout_bits_per_trial": k * d}
            for s, d in (("a", 0.1), ("b", 0.11))
            for k in (1, 2)
        ]
    )
    names = ("state_choice", "cohort_summary", "cohort_figures", "cohort_comparison")
    means = pl.DataFrame(
        {
            "model": ["glmhmm"],
            "num_states": [2],
            "subjects": [2],
            "gain_over_glm": [0.1],
            "conclusion": ["2 states beat the GLM."],
        }
    )
    upstream = [
        dg.AssetSpec(dg.AssetKey(["tiny", name]), metadata={"dagster/io_manager_key": "tables"})
        for name in names
    ]

    def track(choice):
        store(home, "cohort_summary", scores)
        store(home, "state_choice", choice)
        excluded = isinstance(choice, Excluded)
        store(home, "cohort_comparison", Excluded("cohort", "nobody") if excluded else means)
        made = dg.materialize(
            [*upstream, build_cohort_tracking(home.study)],
            instance=home.instance,
            resources={**build_io_managers(home.folder), "tracker": tracker},
        )
        (event,) = made.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}

    facts = track(choose_for_cohort(scores).table)
    client = tracker.prepare()
    runs = {
        client.get_run(run_id).data.tags["model"]: client.get_run(run_id)
        for run_id in current_runs(tracker)["cohort"]
    }
    assert set(runs) == {"state_choice", "comparison"}
    assert all(run.info.run_id in facts[model] for model, run in runs.items())
    assert runs["state_choice"].data.metrics["num_states"] == 2
    assert runs["comparison"].data.metrics["gain_over_glm/glmhmm_K2"] == 0.1
    assert runs["comparison"].data.tags["conclusion"] == "2 states beat the GLM."
    assert track(choose_for_cohort(scores).table)["runs_new"] == 0
    assert track(Excluded("cohort", "one subject"))["excluded"] == "one subject"
    assert current_runs(tracker) == {}
