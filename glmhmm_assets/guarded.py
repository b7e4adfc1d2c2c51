"""Dagster's and MLflow's own servers, started with the guard before their pages.

``python -m glmhmm_assets.guarded dagster|webserver|mlflow OPTIONS`` takes what ``dagster``,
``dagster-webserver`` and ``mlflow`` take. Neither server has a setting for a layer of somebody
else's, so the name by which each starts its application is exchanged here. ``glmhmm ui`` does not
call a server open before the guard has answered.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from glmhmm_assets.addresses import dagster_doors, mlflow_doors
from glmhmm_assets.guard import Guard
from glmhmm_assets.picture_server import PictureServer
from glmhmm_assets.study import dagster_home

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MODULE = "glmhmm_assets.guarded"


def dagster() -> None:
    """Dagster's command line, whose ``dev`` starts the webserver below."""
    from dagster import _cli
    from dagster._cli import dev
    from dagster_shared.ipc import open_ipc_subprocess

    def start(command: Sequence[str], **arguments: Any) -> Any:
        instead = {"dagster_webserver": [MODULE, "webserver"]}
        words = [w for word in command for w in instead.get(word, [word])]
        return open_ipc_subprocess(words, **arguments)

    with patch.object(dev, open_ipc_subprocess.__name__, start):
        _cli.main()


def webserver() -> None:
    """Dagster's webserver, which has pictures to show beside its own pages."""
    from dagster_webserver import cli
    from dagster_webserver.app import create_app_from_workspace_process_context

    def create(*given: Any, **arguments: Any) -> "ASGIApp":
        own = create_app_from_workspace_process_context(*given, **arguments)
        return Guard(PictureServer(own, dagster_home().absolute() / "storage"), dagster_doors())

    with patch.object(cli, create_app_from_workspace_process_context.__name__, create):
        cli.main()


def mlflow() -> None:
    """MLflow's command line, whose ``server`` starts the application below."""
    from mlflow import cli, server

    build = server._build_uvicorn_command

    def build_guarded(*given: Any, **arguments: Any) -> list[str]:
        *command, _ = build(*given, **arguments)
        return [*command, "--factory", f"{MODULE}:mlflow_app"]

    with patch.object(server, "_build_uvicorn_command", build_guarded):
        cli.cli()


def mlflow_app() -> "ASGIApp":
    """MLflow's application, with its own checks of Host and Origin behind ours."""
    from mlflow.server.fastapi_app import app

    return Guard(app, mlflow_doors())


if __name__ == "__main__":
    name = sys.argv.pop(1)
    {"dagster": dagster, "webserver": webserver, "mlflow": mlflow}[name]()
