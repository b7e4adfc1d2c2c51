"""The MLflow tracker: one experiment per study, one flat run per subject and model.

What belongs here is which store is used, how it is opened, and what happens when it does not
answer. How runs are found, written and superseded is in ``model_store``, what they say in
``logged_model``.
"""

import contextlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import dagster as dg

from glmhmm_assets.addresses import PUBLIC_DAGSTER, TO_DAGSTER
from glmhmm_assets.faults import explain
from glmhmm_assets.resources.model_store import ModelStore
from glmhmm_assets.resources.origin import Origin
from glmhmm_assets.study import dagster_home
from glmhmm_assets.surroundings import ask_no_proxy_here
from glmhmm_core.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

#: Seconds that a server may take to answer before it counts as stopped, and that one request may
#: take. Together with one retry they keep a failure within 15 seconds; MLflow's own defaults
#: retry for minutes.
PROBE_SECONDS = 5
REQUEST_SECONDS = 5


@dataclass(frozen=True)
class MlflowTracker:
    """Where fitted models are logged.

    It is no configuration of a run: who may start runs could send a lab's results elsewhere.

    Attributes
    ----------
    tracking_uri
        The store; empty for that of MLFLOW_TRACKING_URI, or an SQLite file under
        ``dagster_home``.
    artifact_root
        Folder of the artifacts of a store without a server of its own; empty for one under
        ``dagster_home``.
    """

    tracking_uri: str = ""
    artifact_root: str = ""

    @property
    def store_uri(self) -> str:
        """The store that is used."""
        default = f"sqlite:///{dagster_home().absolute()}/mlflow/mlflow.db"
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default

    @property
    def has_server(self) -> bool:
        """Whether the store is behind an MLflow server, which keeps the artifacts too."""
        return urlsplit(self.store_uri).scheme in ("http", "https")

    def origin(self, study: str, task: str, dagster_run_id: str) -> Origin:
        """Give the origin of the fits of a Dagster run, for the links back.

        The pages of somebody else's server do not know where Dagster is. Links on them need the
        address that people open Dagster under, from anywhere; without it there are none.
        """
        dagster = os.environ.get(PUBLIC_DAGSTER, "") if self.has_server else TO_DAGSTER
        return Origin(study, task, dagster.rstrip("/"), dagster_run_id)

    def prepare(self) -> "MlflowClient":
        """Make sure that the store answers and has its tables; give a client of it.

        Raises
        ------
        dagster.Failure
            If the store cannot be reached or used, within 15 seconds.
        """
        ask_no_proxy_here()
        if self.has_server:
            self._probe()
        with self._explained():
            self.make_store()
            from mlflow.tracking import MlflowClient

            client = MlflowClient(self.store_uri, registry_uri=self.store_uri)
            client.search_experiments(max_results=1)
        return client

    def make_store(self) -> None:
        """Make an SQLite store whole where there is none; MLflow would in place, in many steps.

        Raises
        ------
        InputError
            If its file cannot be used.
        """
        from glmhmm_assets.stores import follow_move, prepare_mlflow

        _quiet_mlflow()
        if self.database is not None:
            prepare_mlflow(self.database, self._artifacts.as_uri())
            chosen = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
            if not (chosen or self.artifact_root):
                follow_move(self.database, self._artifacts)

    @property
    def database(self) -> Path | None:
        """File of an SQLite store, None for another one."""
        if not self.store_uri.startswith("sqlite:"):
            return None
        from sqlalchemy.engine import make_url

        path = make_url(self.store_uri).database
        return Path(path).absolute() if path and not path.startswith((":", "file:")) else None

    @contextlib.contextmanager
    def open(self, experiment: str, stage: str = "fit_tracking") -> Iterator[ModelStore]:
        """Open a study's experiment, making it when it is new.

        ``stage`` is the asset that writes to it: it supersedes runs of its own alone.

        Raises
        ------
        dagster.Failure
            If the store cannot be used, now or inside the ``with`` block, or if the experiment
            was deleted in MLflow.
        """
        client = self.prepare()
        with self._explained():
            with self._alone():
                experiment_id = self._experiment(client, experiment)
            yield ModelStore(client, experiment_id, stage)

    def _experiment(self, client: "MlflowClient", name: str) -> str:
        """Find or make the experiment; its artifacts' place is fixed when it is made."""
        found = client.get_experiment_by_name(name)
        if found is None:
            return client.create_experiment(
                name,
                artifact_location=self._artifact_location(name),
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        if found.lifecycle_stage == "deleted":
            raise self._failure(
                f"its experiment {name!r} was deleted. Restore it with `mlflow experiments "
                f"restore --experiment-id {found.experiment_id}`, or remove it for good with "
                f"`mlflow gc --experiment-ids {found.experiment_id}`"
            )
        return found.experiment_id

    @property
    def _artifacts(self) -> Path:
        """Folder of the artifacts of a store without a server of its own."""
        return Path(self.artifact_root or dagster_home() / "mlflow" / "artifacts").absolute()

    def _artifact_location(self, experiment: str) -> str | None:
        """Give an absolute folder: MLflow's default is relative to where a process started."""
        return None if self.has_server else (self._artifacts / experiment).as_uri()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out while an experiment is made: all but one would fail."""
        if self.database is None:
            yield
            return
        from filelock import FileLock

        with FileLock(f"{self.database}.lock", timeout=120):
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what MLflow, its database, the network or the disk raises into the one message."""
        import sqlite3

        _quiet_mlflow()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        # It would print a traceback beside the one message.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, InputError) as error:
            place = str(self.database or self.store_uri)
            told = error if isinstance(error, InputError) else explain(error, place)
            if told is None:
                raise self._failure(str(error)) from error
            at = "" if told.where == place else f"{told.where}: "
            raise self._failure(f"{at}{told.problem}", told.remedy) from error

    def _probe(self) -> None:
        """Ask the server for a sign of life; any answer but a proxy's "no one there" is one."""
        try:
            urllib.request.urlopen(f"{self.store_uri.rstrip('/')}/health", timeout=PROBE_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code in (502, 503, 504):
                raise self._failure(f"the server answers {error.code} {error.reason}") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise self._failure(f"the server does not answer ({reason})") from error

    def _failure(self, problem: str, remedy: str | None = None) -> dg.Failure:
        """One message for a store that cannot be used; trying again at once would not help."""
        again = "start MLflow again (`glmhmm ui`, or whoever runs that server)"
        first = f"{remedy} Then" if remedy else f"{again[0].upper()}{again[1:]} and"
        return dg.Failure(
            f"MLflow at {self.store_uri}: {problem}. No fit is lost. {first} materialize "
            "fit_tracking and cohort_tracking alone.",
            allow_retries=False,
        )


def _quiet_mlflow() -> None:
    """Keep MLflow from reporting to its makers, from chatting, and from trying for minutes.

    It reads the environment when it is imported (telemetry, level) or at each request (the rest).
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_SECONDS),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }.items():
        os.environ.setdefault(name, value)
