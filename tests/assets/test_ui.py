"""The pages' start: which ports are taken, what MLflow is told, and what is printed."""

import io
import socket

import pytest
from rich.console import Console

from glmhmm_assets.ui import _addresses, _mlflow, _port
from glmhmm_core.errors import InputError


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_a_usual_port_that_is_taken_gives_way_to_a_free_one(console):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = taken.getsockname()[1]
        port = _port(None, usual, "--dagster-port", console)
    assert port != usual
    assert console.file.getvalue() == f"Port {usual} is taken; {port} is used in its place.\n"


def test_a_port_that_was_asked_for_and_is_taken_is_refused(console):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        asked = taken.getsockname()[1]
        with pytest.raises(InputError, match="cannot be used"):
            _port(asked, 3000, "--dagster-port", console)


def test_mlflows_own_checks_cannot_be_switched_off_from_outside(tmp_path):
    env = {"MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true"}
    told = _mlflow(tmp_path, 1, "sqlite://", env).env
    assert told["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] == "false"
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in told


def test_mlflows_own_checks_know_a_proxys_name(tmp_path):
    env = {"GLMHMM_PUBLIC_MLFLOW_URL": "https://mlflow.lab.org:8443/"}
    told = _mlflow(tmp_path, 1, "sqlite://", env).env
    assert "mlflow.lab.org:*" in told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "127.0.0.1:*" in told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mlflow.lab.org:8443"


def test_the_pages_that_are_told_are_the_lineage_and_training_runs(tmp_path):
    mlflow = "http://127.0.0.1:9"  # where nobody answers
    told = _addresses(
        tmp_path, {"GLMHMM_DAGSTER_URL": "http://127.0.0.1:8", "GLMHMM_MLFLOW_URL": mlflow}
    )
    assert "http://127.0.0.1:8/asset-groups\n" in told
    assert f"{mlflow}/#/experiments?workflowType=machine_learning\n" in told
