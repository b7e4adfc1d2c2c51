"""MLflow behind a server that comes and goes: no fit is lost, and tracking alone catches up."""

import contextlib
import signal
import subprocess
import sys

import dagster as dg
import pytest
from servers import GLMHMM, drop_sessions, end_with_parent, environment, free_port, post, wait_for

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def mlflow_server(home, port):
    """An MLflow server with a store and artifacts of its own."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{home}/server.db"]
    command += ["--artifacts-destination", str(home / "served")]
    off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "server.txt").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment(home, **off),
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        search = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
        wait_for(lambda: post(search, {"max_results": 1}), 180, "the MLflow server")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def seconds_of(home, run, step):
    """How long a step of a run took."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (stats,) = instance.get_run_step_stats(run.run_id, [step])
    return stats.end_time - stats.start_time


def test_a_stopped_server_loses_no_fit_and_tracking_runs_again_alone(home):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = environment(home, MLFLOW_TRACKING_URI=address)
    drop_sessions(home, "ann")

    failed = subprocess.run([*GLMHMM, "run", "tiny"], env=env, capture_output=True, text=True)
    assert failed.returncode == 1
    assert f"MLflow at {address}: the server does not answer" in failed.stdout
    assert "tiny: 1 subject has fits" in failed.stdout
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        key = dg.AssetKey(["tiny", "subject_fits"])
        assert instance.get_materialized_partitions(key) == {"ann"}
    assert seconds_of(home, run, "tiny__fit_tracking") < 15

    with mlflow_server(home, port):
        again = [sys.executable, "-m", "dagster", "asset", "materialize"]
        again += ["-m", "glmhmm_assets.definitions", "--select", "key:tiny/fit_tracking"]
        again += ["--partition-range", "ann...ann"]
        alone = subprocess.run(again, env=env, capture_output=True, text=True)
        assert alone.returncode == 0, alone.stderr
        runs = post(
            f"{address}/api/2.0/mlflow/runs/search",
            {"experiment_ids": ["1"], "filter": "attributes.status = 'FINISHED'"},
        )["runs"]
        assert len(runs) == 2
        assert all(r["info"]["artifact_uri"].startswith("mlflow-artifacts:") for r in runs)
        assert {file.name for file in (home / "served").rglob("*.npz")} == {"fit.npz"}
