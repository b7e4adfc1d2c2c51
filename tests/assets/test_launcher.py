"""The launcher tells a run that works from one whose process is gone."""

from pathlib import Path

import dagster as dg
import grpc
import pytest
import yaml
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import CanCancelExecutionResult
from dagster._serdes import serialize_value

from glmhmm_assets.launcher import WatchedRunLauncher

RUN = DagsterRun(job_name="j", tags={GRPC_INFO_TAG: "{}"})


class _Refused(grpc.RpcError):
    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code


class _Server:
    """A code server that answers, or does not."""

    def __init__(self, answer):
        self._answer = answer

    def can_cancel_execution(self, request):
        assert request.run_id == RUN.run_id
        if isinstance(self._answer, grpc.StatusCode):
            raise DagsterUserCodeUnreachableError("no answer") from _Refused(self._answer)
        return serialize_value(CanCancelExecutionResult(can_cancel=self._answer))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (True, WorkerStatus.RUNNING),
        (False, WorkerStatus.NOT_FOUND),
        (grpc.StatusCode.UNAVAILABLE, WorkerStatus.NOT_FOUND),
        (grpc.StatusCode.DEADLINE_EXCEEDED, WorkerStatus.RUNNING),  # busy, not gone
    ],
)
def test_health_is_what_the_code_server_says(monkeypatch, answer, status):
    launcher = WatchedRunLauncher()
    monkeypatch.setattr(
        launcher, "_get_grpc_client_for_termination", lambda _run_id: _Server(answer)
    )
    assert launcher.check_run_worker_health(RUN).status == status


def test_a_run_that_just_ended_and_one_from_a_terminal_are_left_alone(monkeypatch):
    launcher = WatchedRunLauncher()
    monkeypatch.setattr(launcher, "_get_grpc_client_for_termination", lambda _run_id: None)
    assert launcher.check_run_worker_health(RUN).status == WorkerStatus.SUCCESS
    by_hand = DagsterRun(job_name="j")
    assert launcher.check_run_worker_health(by_hand).status == WorkerStatus.RUNNING


def test_the_instance_file_is_one_that_dagster_takes(tmp_path):
    text = (Path(__file__).parents[2] / "dagster_home" / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, WatchedRunLauncher)
        assert instance.run_launcher.supports_check_run_worker_health
        assert instance.run_monitoring_enabled
        assert instance.telemetry_enabled is False
        assert instance.get_settings("nux") == {"enabled": False}
    assert yaml.safe_load(text)["concurrency"]["runs"]["max_concurrent_runs"] == 2
