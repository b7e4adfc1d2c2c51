"""What reaches MLflow, how often, and what happens when MLflow is not there."""

import http.server
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from core.engine.climbs import TWO, trials_of
from core.fitting.fitted import design_of
from tracked_fits import NAMES, make_fit, make_fits

from glmhmm_assets.addresses import WORKFLOW
from glmhmm_assets.resources import origin
from glmhmm_assets.resources.baseline_run import logged_baseline
from glmhmm_assets.resources.cohort_run import COHORT, logged_choice
from glmhmm_assets.resources.logged_model import Findings, LoggedModel
from glmhmm_assets.resources.model_run import data_hash, logged_fit, run_params
from glmhmm_assets.resources.origin import Origin, code_version
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_core.baselines.result import BaselineFit, SubjectBaselines
from glmhmm_core.baselines.subject import BaselineSettings, fit_baselines
from glmhmm_core.comparison.selection import SelectionRule, choose_for_cohort
from glmhmm_core.engine.session_kinds import SessionKinds
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.fitting.store import load_fits

ORIGIN = Origin("mice", "ibl_2afc", "/to/dagster", "run-1")


@pytest.fixture(scope="module")
def store_file(tmp_path_factory):
    """An SQLite store with its tables, which takes MLflow five seconds to make."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowTracker(tracking_uri=f"sqlite:///{file}").prepare()
    return file


@pytest.fixture
def tracker(store_file, tmp_path):
    """A tracker on an empty store of its own."""
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(store_file.read_bytes())
    return MlflowTracker(
        tracking_uri=f"sqlite:///{copy}", artifact_root=str(tmp_path / "arti facts")
    )


@pytest.fixture
def client(tracker):
    return tracker.prepare()


def log(tracker, fits, findings=None, origin=ORIGIN):
    """Log fits with findings by number of states; give their runs by number of states."""
    models = [
        logged_fit(fits, f, (findings or {}).get(f.num_states, Findings())) for f in fits.fits
    ]
    with tracker.open("mice") as store:
        runs = store.log(fits.subject, models, origin)
    return {num_states: run for (_, num_states), run in runs.items()}


def all_runs(client, **tags):
    experiment = client.get_experiment_by_name("mice").experiment_id
    query = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    return client.search_runs([experiment], query)


def test_a_run_says_everything_about_its_fit(tracker, client, tmp_path):
    picture = tmp_path / "weights.png"
    picture.write_bytes(b"a picture")
    fits = make_fits()
    runs = log(tracker, fits, {2: Findings(figures=[picture])})
    assert sorted(runs) == [1, 2]
    run = client.get_run(runs[2].run_id)
    fit = fits[2]

    params = run.data.params
    assert params["emission_prior_scale"] == "stimulus 10, bias 3, previous_choice 2, wsls 2"
    expected = {
        "study": "mice", "task": "ibl_2afc", "subject": "mouse 1", "num_states": "2",
        "model": "glmhmm",
        "choices": "left, right", "baseline_choice": "left",
        "regressors": "stimulus, bias, previous_choice, wsls", "transition_concentration": "2",
        "stickiness": "0", "n_restarts": "4", "max_iters": "1000", "tol": "1e-09", "seed": "0",
        "cv_folds": "2",
    }  # fmt: skip
    assert expected.items() <= params.items()

    metrics = run.data.metrics
    expected = {
        "train_log_likelihood": -35.0, "train_log_likelihood_per_trial": -35 / 58,
        "train_accuracy": 0.75, "num_iterations": 7, "converged": 1, "restarts_converged": 3,
        "num_sessions": 3, "num_trials": 60, "num_choices": 58,
        "heldout_log_likelihood_per_trial": (10 * -0.6 + 30 * -0.4) / 40,
        "heldout_accuracy": (10 * 0.7 + 30 * 0.9) / 40,
        "heldout_bits_per_trial": (10 * 0.09 + 30 * 0.29) / 40 / np.log(2),
        "objective": fit.log_probability[-1],
    }  # fmt: skip
    assert (
        expected.items()
        <= {**metrics, **{k: pytest.approx(v) for k, v in expected.items()}}.items()
    )
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value), name
    assert {"bic", "aic", "train_bits_per_trial", "restarts_at_best", "num_parameters"} <= set(
        metrics
    )

    trace = client.get_metric_history(run.info.run_id, "em_objective")
    assert [m.step for m in trace] == list(range(8))
    np.testing.assert_array_equal([m.value for m in trace], fit.log_probability)

    tags = run.data.tags
    assert tags["subject"] == "mouse 1"
    assert tags["fingerprint"] == "f1"
    assert tags["data_hash"] == data_hash(fit)
    assert tags["superseded"] == "false"
    assert tags["dagster_run_id"] == "run-1"
    assert tags["dagster_asset"] == "mice/subject_fits"
    link = "/to/dagster/assets/mice/subject_fits?view=partitions&partition=mouse%201"
    assert f"]({link})" in tags["mlflow.note.content"]
    assert len(tags["git_commit"]) == 40 or tags["git_commit"] == "unknown"
    assert tags["git_dirty"] in ("true", "false", "unknown")

    assert tags["remarks"] == "0"

    assert run.info.status == "FINISHED"
    assert run.info.run_name == "mouse 1 K=2"
    assert [f.path for f in client.list_artifacts(run.info.run_id, "figures")] == [
        "figures/weights.png"
    ]
    assert client.list_artifacts(runs[1].run_id, "figures") == []
    (only,) = load_fits(client.download_artifacts(run.info.run_id, "fit.npz", str(tmp_path))).fits
    assert only.num_states == 2
    np.testing.assert_array_equal(only.X, fit.X)


def test_links_name_no_host_and_no_port(tracker, monkeypatch):
    monkeypatch.setenv("GLMHMM_DAGSTER_URL", "http://127.0.0.1:4321")
    monkeypatch.setenv("GLMHMM_MLFLOW_URL", "http://127.0.0.1:1234")
    run = log(tracker, make_fits(numbers=(1,)))[1]
    with tracker.open("mice") as store:
        experiment = store.experiment_id
        assert run.url == f"/to/mlflow/experiments/{experiment}/runs/{run.run_id}?{WORKFLOW}"
        page = store.subject_url("mouse 1")
    assert page.startswith(f"/to/mlflow/experiments/{experiment}/runs?searchFilter=tags.subject%20")
    tags = tracker.prepare().get_run(run.run_id).data.tags
    assert not [value for value in tags.values() if "127.0.0.1" in value]


def test_somebody_elses_server_gets_links_to_a_public_address_alone(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:8080")
    monkeypatch.setenv("GLMHMM_DAGSTER_URL", "http://127.0.0.1:4321")
    said = MlflowTracker().origin("mice", "two_afc", "run-1").links("subject_fits", "ann")
    assert said == "In Dagster: asset mice/subject_fits, partition ann, run run-1."
    monkeypatch.setenv("GLMHMM_PUBLIC_URL", "https://lab.org/dagster/")
    said = MlflowTracker().origin("mice", "two_afc", "run-1").links("subject_fits", "ann")
    page = "https://lab.org/dagster/assets/mice/subject_fits?view=partitions&partition=ann"
    assert said.startswith(f"In Dagster: [what made it]({page})")


def test_logging_again_changes_nothing(tracker, client):
    first = log(tracker, make_fits())
    before = {r.info.run_id: r.to_dictionary() for r in all_runs(client)}
    again = log(tracker, make_fits(), origin=replace(ORIGIN, dagster_run_id="run-2"))
    assert {k: r.run_id for k, r in again.items()} == {k: r.run_id for k, r in first.items()}
    assert all(run.reused for run in again.values())
    assert not any(run.reused for run in first.values())
    assert {r.info.run_id: r.to_dictionary() for r in all_runs(client)} == before


def test_a_new_fit_supersedes_the_subjects_old_ones_and_nobody_elses(tracker, client):
    log(tracker, make_fits("other"))
    old = log(tracker, make_fits(numbers=(1, 2, 3)))
    new = log(tracker, make_fits(fingerprint="f2"))
    for run in old.values():
        tags = client.get_run(run.run_id).data.tags
        assert tags["superseded"] == "true"
        whose = "fingerprint f2" if tags["num_states"] != "3" else "a fit without this model"
        assert tags["superseded_by"] == whose
    for run in new.values():
        assert client.get_run(run.run_id).data.tags["superseded"] == "false"
    assert len(all_runs(client, subject="other", superseded="false")) == 2


def findings(gain, picture):
    table = pl.DataFrame({"model": ["glm", "glmhmm"], "gain": [None, gain]})
    return Findings({"gain_over_glm": gain}, {"model_comparison": table}, [picture])


def test_what_is_found_out_about_a_fit_stays_up_to_date_in_its_run(tracker, client, tmp_path):
    picture = tmp_path / "comparison.png"
    picture.write_bytes(b"one")
    first = log(tracker, make_fits(), {2: findings(0.25, picture)})[2]
    picture.write_bytes(b"two")
    again = log(tracker, make_fits(), {2: findings(0.5, picture)})[2]
    assert (again.run_id, again.reused) == (first.run_id, True)
    run = client.get_run(first.run_id)
    assert run.data.metrics["gain_over_glm"] == 0.5
    assert run.info.status == "FINISHED"

    def fetch(name):
        return (
            tmp_path / client.download_artifacts(first.run_id, name, str(tmp_path))
        ).read_bytes()

    assert fetch("figures/comparison.png") == b"two"
    assert fetch("tables/model_comparison.csv").decode() == "model,gain\nglm,\nglmhmm,0.5\n"
    before = run.to_dictionary()
    log(tracker, make_fits(), {2: findings(0.5, picture)})
    assert client.get_run(first.run_id).to_dictionary() == before


def test_an_interrupted_update_of_findings_is_done_again(tracker, client, monkeypatch, tmp_path):
    picture = tmp_path / "comparison.png"
    picture.write_bytes(b"one")
    first = log(tracker, make_fits(), {2: findings(0.25, picture)})[2]
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.tracking.MlflowClient.log_artifact", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            log(tracker, make_fits(), {2: findings(0.5, picture)})
    log(tracker, make_fits(), {2: findings(0.5, picture)})
    got = client.download_artifacts(first.run_id, "tables/model_comparison.csv", str(tmp_path))
    assert "0.5" in (tmp_path / got).read_text()


def test_models_of_one_kind_each_have_a_run_and_their_own_fingerprint(tracker, client):
    """Models that are no GLM-HMM live beside those and are renewed on their own."""
    common = {"subject": "mouse 1", "num_states": 1, "about": "A model.", "asset": "baselines"}
    lapse = LoggedModel(model="lapse_class", fingerprint="l1", metrics={"bic": 3.0}, **common)
    drift = LoggedModel(model="drift", fingerprint="d1", params={"starts": "2"}, **common)
    fit = logged_fit(make_fits(numbers=(1,)), make_fits(numbers=(1,))[1], Findings())

    def put(*models):
        with tracker.open("mice") as store:
            return store.log("mouse 1", models, ORIGIN)

    first = put(fit, lapse, drift)
    assert set(first) == {("glm", 1), ("lapse_class", 1), ("drift", 1)}
    run = client.get_run(first["lapse_class", 1].run_id)
    assert run.info.run_name == "mouse 1 lapse_class"
    assert run.data.metrics == {"bic": 3.0}
    second = put(fit, lapse, replace(drift, fingerprint="d2"))
    reused = {key[0]: one.reused for key, one in second.items()}
    assert reused == {"glm": True, "lapse_class": True, "drift": False}
    current = {r.data.tags["model"]: r.info.run_id for r in all_runs(client, superseded="false")}
    assert current == {key[0]: one.run_id for key, one in second.items()}


def test_runs_of_baselines_have_their_scores_and_what_they_learned(tracker, client):
    design = design_of(trials_of(TWO), "mouse 1")
    settings = BaselineSettings(("lapse_class", "drifting_weights"), 2.0, cv_folds=2)
    baselines = fit_baselines({"mouse 1": design}, settings)["mouse 1"]
    beside = replace(
        make_fit(1),
        specification=Specification(2, design.feature_names, np.array([2.0, 3.0])),
    )
    models = [logged_baseline(baselines, f, beside, Findings()) for f in baselines.fits]
    with tracker.open("mice") as store:
        told = store.log("mouse 1", models, ORIGIN)
    lapse, drift = (
        client.get_run(told[name, 1].run_id) for name in ("lapse_class", "drifting_weights")
    )
    fits = {fit.model: fit for fit in baselines.fits}
    for run, fit in ((lapse, fits["lapse_class"]), (drift, fits["drifting_weights"])):
        metrics = run.data.metrics
        trials = sum(fold.test_trial_count for fold in fit.cv_metrics)
        nats = sum(fold.test_log_likelihood for fold in fit.cv_metrics)
        assert metrics["heldout_log_likelihood_per_trial"] == pytest.approx(nats / trials)
        assert metrics["heldout_bits_per_trial"] == pytest.approx(fit.heldout_bits_per_trial)
        assert metrics["train_log_likelihood"] == pytest.approx(fit.raw_log_likelihood)
        assert metrics["bic"] == pytest.approx(fit.bic)
        assert metrics["converged"] == 1
        assert run.data.params["cv_folds"] == "2"
    assert lapse.data.params["lapse"] == "class"
    assert lapse.data.params["emission_prior_scale"] == "stimulus 2, bias 3"
    assert drift.data.params["initial_prior_scale"] == "stimulus 2, bias 3"
    params = fits["lapse_class"].fitted_params
    for name, rate in zip(params.lapse_labels, params.lapse_rates, strict=True):
        assert lapse.data.metrics[f"lapse_rate {name}"] == rate
    steps = fits["drifting_weights"].fitted_params
    assert drift.data.metrics["step_size bias"] == steps.step_sizes[1]
    assert drift.data.metrics["session_step_size stimulus"] == steps.session_step_sizes[0]


def test_runs_of_sessions_of_two_kinds_say_what_the_kinds_are(tracker, client):
    chains = np.array([[[0.95, 0.05], [0.15, 0.85]], [[0.75, 0.25], [0.25, 0.75]]])
    laws = np.array([0.625, 0.375]), np.full((2, 2), 0.5), chains
    plain = make_fit(2)
    kinds = BaselineFit(
        model="glmhmm_sessions",
        fitted_params=SessionKinds(*laws, np.zeros((2, 1, 4))),
        names=NAMES,
        num_parameters=17,
        objective_log_probability=-36.0,
        choice_probs=plain.choice_probs,
        trial_log_likelihood=np.full(60, -0.5),
        **{name: getattr(plain, name) for name in ("y", "mask", "session_ids")},
        baseline_class_idx=0,
        start_objectives=np.zeros(2),
        gradient_norm=float("nan"),
        iterations=9,
        converged=True,
        num_states=2,
    )
    made = SubjectBaselines("mouse 1", "k1", (kinds,))
    model = logged_baseline(made, kinds, plain, Findings(), "session_fits")
    with tracker.open("mice") as store:
        told = store.log("mouse 1", [model], ORIGIN)
    run = client.get_run(told["glmhmm_sessions", 2].run_id)
    assert run.data.params["session_kinds"] == "2"
    assert "lapse" not in run.data.params
    assert run.data.metrics["share_of_kind_1"] == 0.375
    assert run.data.metrics["self_transition_of_kind_0"] == pytest.approx(0.9)
    assert run.data.metrics["train_log_likelihood"] == -30
    assert "2 states and sessions of 2 kinds" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["num_states"] == "2"


def test_stages_do_not_supersede_one_anothers_runs(tracker, client):
    """A subject may even be called as all together are."""
    log(tracker, make_fits(COHORT))
    scores = pl.DataFrame(
        [
            {"subject": s, "num_states": k, "heldout_bits_per_trial": bits + d}
            for s, d in (("a", 0.0), ("b", 0.01), ("c", 0.02))
            for k, bits in ((1, 0.3), (2, 0.4), (3, 0.404))
        ]
    )
    choice = choose_for_cohort(scores)
    model = logged_choice(choice.table, scores, SelectionRule(), [])
    for _ in range(2):
        with tracker.open("mice", "cohort_tracking") as store:
            ((_, told),) = store.log(COHORT, [model], ORIGIN).items()
    assert told.reused
    run = client.get_run(told.run_id)
    assert run.data.params["min_gain"] == "0.01"
    metrics = run.data.metrics
    assert metrics["num_states"] == 2
    assert metrics["gain_K1_to_K2"] == pytest.approx(0.1)
    assert metrics["gain_K2_to_K3"] == pytest.approx(0.004)
    assert metrics["chosen_share"] == choice.table.filter("chosen")["chosen_share"].item()
    assert (metrics["subjects"], metrics["subjects_left_out"]) == (3, 0)
    assert "less than 0.01" in run.data.tags["why"]
    assert run.data.tags["dagster_asset"] == "mice/state_choice"
    log(tracker, make_fits(COHORT, fingerprint="f2"))
    assert client.get_run(told.run_id).data.tags["superseded"] == "false"
    assert len(all_runs(client, subject=COHORT, superseded="false")) == 3


def test_runs_of_data_that_came_back_count_again(tracker, client):
    first = log(tracker, make_fits())
    second = log(tracker, make_fits(fingerprint="f2"))
    back = log(tracker, make_fits())
    assert {r.run_id for r in back.values()} == {r.run_id for r in first.values()}
    current = {r.info.run_id for r in all_runs(client, superseded="false")}
    assert current == {r.run_id for r in first.values()}
    assert client.get_run(second[1].run_id).data.tags["superseded"] == "true"


@pytest.mark.parametrize("stop_in", ["log_batch", "log_artifact", "set_terminated"])
def test_what_a_killed_attempt_left_is_not_counted_as_done(tracker, client, monkeypatch, stop_in):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.tracking.MlflowClient.{stop_in}", killed)
        with pytest.raises(Killed):
            log(tracker, make_fits())
    (left,) = all_runs(client)
    assert left.info.status == "RUNNING"

    runs = log(tracker, make_fits())
    assert left.info.run_id not in {run.run_id for run in runs.values()}
    assert len(all_runs(client, superseded="false")) == 2
    left = client.get_run(left.info.run_id)
    assert left.info.status == "KILLED"
    assert left.data.tags["superseded"] == "true"


def test_an_attempt_killed_between_two_runs_goes_on_with_the_second(tracker):
    first = log(tracker, make_fits(numbers=(1,)))
    both = log(tracker, make_fits(numbers=(1, 2)))
    assert both[1].run_id == first[1].run_id
    assert (both[1].reused, both[2].reused) == (True, False)


def test_a_subject_that_is_left_out_keeps_no_current_run(tracker, client):
    log(tracker, make_fits())
    with tracker.open("mice") as store:
        assert store.supersede("mouse 1", "left out: too few sessions") == 2
        assert store.supersede("mouse 1", "left out: again") == 0
    for run in all_runs(client):
        assert run.data.tags["superseded_by"] == "left out: too few sessions"


def test_a_subject_may_be_named_in_any_script(tracker, client):
    runs = log(tracker, make_fits("мышь-1 é.b", numbers=(1,)))
    assert log(tracker, make_fits("мышь-1 é.b", numbers=(1,)))[1].run_id == runs[1].run_id
    assert len(all_runs(client, subject="мышь-1 é.b")) == 1


def test_absent_folds_and_long_traces_are_no_trouble(tracker, client):
    run = log(tracker, make_fits(numbers=(2,), folds=0, iterations=2500))[2]
    metrics = client.get_run(run.run_id).data.metrics
    assert not [name for name in metrics if name.startswith("heldout")]
    assert len(client.get_metric_history(run.run_id, "em_objective")) == 2501


def test_a_deleted_experiment_is_told_with_the_way_back(tracker, client):
    log(tracker, make_fits(numbers=(1,)))
    client.delete_experiment(client.get_experiment_by_name("mice").experiment_id)
    with pytest.raises(dg.Failure, match=r"was deleted\. Restore it with `mlflow experiments"):
        log(tracker, make_fits(numbers=(1,)))


OPEN_WHEN_TOLD = """
import sys
import mlflow.store.tracking.sqlalchemy_store
from glmhmm_assets.resources.tracker import MlflowTracker
print("ready", flush=True)
sys.stdin.readline()
with MlflowTracker(tracking_uri=sys.argv[1]).open("mice"):
    pass
"""


@pytest.mark.slow
def test_several_processes_may_open_a_fresh_store_together(tmp_path):
    uri = f"sqlite:///{tmp_path}/new folder/mlflow.db"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_WHEN_TOLD, uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 2
    for worker in workers:
        worker.stdin.write("now\n")
        worker.stdin.flush()
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors


def _refusing():
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1], None


def _silent():
    """A server that takes connections and never answers, as one that was suspended."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener.getsockname()[1], listener.close


def _broken():
    """A proxy whose server is gone."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port, server.shutdown


@pytest.mark.parametrize("kind", [_refusing, _silent, _broken])
def test_a_server_that_is_not_there_fails_soon_and_clearly(kind):
    port, close = kind()
    began = time.monotonic()
    with (
        pytest.raises(dg.Failure, match=rf"MLflow at http://127.0.0.1:{port}: the server .* alone"),
        MlflowTracker(tracking_uri=f"http://127.0.0.1:{port}").open("mice"),
    ):
        pass
    assert time.monotonic() - began < 15
    if close:
        close()


def test_a_server_that_goes_away_midway_fails_soon_and_clearly(monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/health":
                self.send_response(200)
                self.end_headers()
            else:
                self.do_POST()

        def do_POST(self):
            time.sleep(60)

        def log_message(self, *_):
            pass

    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    began = time.monotonic()
    with (
        pytest.raises(dg.Failure, match="No fit is lost"),
        MlflowTracker(tracking_uri=f"http://127.0.0.1:{server.server_port}").open("mice"),
    ):
        pass
    assert time.monotonic() - began < 15
    server.shutdown()


def test_the_store_is_chosen_by_field_then_environment_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert MlflowTracker().store_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:8080/")
    assert MlflowTracker().store_uri == "http://lab:8080/"
    assert MlflowTracker(tracking_uri="sqlite:////x.db").store_uri == "sqlite:////x.db"


def test_the_data_hash_is_of_what_the_model_saw():
    fit = make_fit(2)
    assert data_hash(fit) == data_hash(make_fit(2, iterations=9))
    X = fit.X.copy()
    X[0, 0] += 1e-12
    for other in (
        replace(fit, X=X),
        replace(fit, y=1 - fit.y),
        replace(fit, mask=~fit.mask),
        replace(fit, session_ids=fit.session_ids[::-1]),
        replace(fit, U=np.ones((len(fit.y), 1))),
        replace(fit, specification=replace(fit.specification, emission_names=tuple("abcd"))),
    ):
        assert data_hash(other) != data_hash(fit)


def test_remarks_are_counted_and_stand_in_the_note():
    fits = make_fits()
    silent = tuple(f"Session 's{i}' has no choice at all." for i in range(20))
    model = logged_fit(fits, replace(fits[2], remarks=silent), Findings())
    assert model.tags["remarks"] == "20"
    assert silent[7] in model.about
    assert silent[8] not in model.about
    assert "and 12 more" in model.about


def test_one_prior_scale_is_told_for_every_regressor():
    fits = make_fits(numbers=(1,))
    flat = replace(fits[1].specification, emission_scale=np.full(4, np.inf))
    params = run_params(fits, replace(fits[1], specification=flat))
    assert params["emission_prior_scale"] == "stimulus inf, bias inf, previous_choice inf, wsls inf"


def test_the_commit_is_the_codes_own(tmp_path, monkeypatch):
    def git(*args):
        origin.subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@y", *args],
            check=True,
            capture_output=True,
        )

    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    assert code_version(tmp_path).commit == "unknown"
    git("init")
    (tmp_path / "glmhmm_core").mkdir()
    file = tmp_path / "glmhmm_core" / "__init__.py"
    file.write_text("")
    git("commit", "--allow-empty", "-m", "somebody else's")
    assert code_version(tmp_path).commit == "unknown"  # the repository does not hold the code
    git("add", ".")
    git("commit", "-m", "code")
    clean = code_version(tmp_path)
    assert (len(clean.commit), clean.dirty) == (40, "false")
    (tmp_path / "study.toml").write_text("")
    assert code_version(tmp_path) == clean
    file.write_text("changed = 1")
    assert code_version(tmp_path).dirty == "true"
