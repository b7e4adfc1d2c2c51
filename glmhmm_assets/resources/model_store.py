"""One study's experiment in MLflow: how runs are found, written and superseded.

Only ``MlflowClient`` is used: the fluent interface keeps an active run in a global, which the
subjects of one batch would share. Which store the client talks to is the tracker's business.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from glmhmm_assets.addresses import TO_MLFLOW, WORKFLOW
from glmhmm_assets.resources.logged_model import Findings, LoggedModel
from glmhmm_assets.resources.origin import Origin, code_version

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class ModelRun:
    """An MLflow run of one model, and the way to it from Dagster's pages.

    ``reused`` when it was there already.
    """

    run_id: str
    url: str
    reused: bool


class ModelStore:
    """One study's experiment, as one stage of the graph writes to it.

    Stages do not touch one another's runs: each supersedes those that it logged itself.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, stage: str) -> None:
        self._client, self.experiment_id, self._stage = client, experiment_id, stage
        self._runs_page = f"{TO_MLFLOW}/experiments/{experiment_id}/runs"
        self._code = code_version()

    def subject_url(self, subject: str) -> str:
        """Give the way from Dagster's pages to the subject's runs that count."""
        query = f"tags.subject = '{subject}' and tags.superseded = 'false'"
        return f"{self._runs_page}?searchFilter={quote(query, safe='')}&{WORKFLOW}"

    def log(
        self,
        subject: str,
        models: Sequence[LoggedModel],
        origin: Origin,
        held: Sequence[LoggedModel] = (),
    ) -> dict[tuple[str, int], ModelRun]:
        """Give every model of a subject its run, and mark the subject's older runs superseded.

        A finished run of the same fingerprint is taken as it is, but for its findings, so that
        doing this again changes nothing; what a killed attempt left half written does not count.

        Parameters
        ----------
        subject
            Whose models they are.
        models
            All that the subject has now.
        origin
            Where they come from.
        held
            Newer ones that are held for review: they have runs too, and supersede none.

        Returns
        -------
        runs
            By model and number of states, without those held.
        """
        before = self._runs_of(subject)
        identity = ("model", "num_states", "fingerprint")
        finished = {
            tuple(run.data.tags[name] for name in identity): run
            for run in reversed(before)  # of two with the same, the newest
            if run.info.status == "FINISHED"
        }
        runs: dict[tuple[str, int], ModelRun] = {}
        keep = set()
        for model in (*held, *models):
            found = finished.get((model.model, str(model.num_states), model.fingerprint))
            run_id = self._write(model, origin) if found is None else found.info.run_id
            if found is not None:
                self._find_out(run_id, model.findings, found.data.tags.get("findings"))
                self._set_tags(found, model.status)
            keep.add(run_id)
            url = f"{self._runs_page}/{run_id}?{WORKFLOW}"
            runs[model.key] = ModelRun(run_id, url, found is not None)
        now = {model.key: f"fingerprint {model.fingerprint}" for model in models}
        for run in before:
            if run.info.run_id in keep:
                self._count_again(run)
            else:
                key = run.data.tags["model"], int(run.data.tags["num_states"])
                self._retire(run, now.get(key, "a fit without this model"))
        return runs

    def supersede(self, subject: str, by: str) -> int:
        """Mark all of a subject's runs superseded; tell how many were marked."""
        return sum(self._retire(run, by) for run in self._runs_of(subject))

    def _count_again(self, run: Run) -> None:
        """Undo that a run was superseded: its data came back (a restored file, say)."""
        if run.data.tags.get("superseded") != "false":
            self._set_tags(run, {"superseded_by": "", "superseded": "false"})

    def _set_tags(self, run: Run, tags: Mapping[str, str]) -> None:
        """Give a run tags that it does not have yet, or has with another value."""
        for name, value in tags.items():
            if run.data.tags.get(name) != value:
                self._client.set_tag(run.info.run_id, name, value)

    def _retire(self, run: Run, by: str) -> bool:
        """Mark a run superseded, ending one that was left open; tell whether it was not yet."""
        if run.data.tags.get("superseded") == "true":
            return False
        if run.info.status == "RUNNING":
            self._client.set_terminated(run.info.run_id, "KILLED")
        if "champion" in run.data.tags:
            self._set_tags(run, {"champion": "false"})
        self._client.set_tag(run.info.run_id, "superseded_by", by)
        # Last, so that an interrupted marking is done again.
        self._client.set_tag(run.info.run_id, "superseded", "true")
        return True

    def _write(self, model: LoggedModel, origin: Origin) -> str:
        """Write one run; it is FINISHED only once everything in it is."""
        from mlflow.entities import Param

        run: Run = self._client.create_run(
            self.experiment_id, tags=self._tags(model, origin), run_name=model.name
        )
        run_id = run.info.run_id
        metrics = [_metric(name, value) for name, value in model.metrics.items()]
        for name, trace in model.traces.items():
            metrics += [_metric(name, value, step) for step, value in enumerate(trace)]
        said = {
            "study": origin.study,
            "task": origin.task,
            "subject": model.subject,
            "model": model.model,
            "num_states": str(model.num_states),
            **model.params,
        }
        params = [Param(name, value) for name, value in said.items()]
        self._client.log_batch(run_id, metrics=metrics, params=params)
        with tempfile.TemporaryDirectory() as folder:
            for name, write in model.files.items():
                file = Path(folder) / name
                write(file)
                self._client.log_artifact(run_id, str(file))
        self._find_out(run_id, model.findings, None)
        self._client.set_terminated(run_id, "FINISHED")
        return run_id

    def _find_out(self, run_id: str, findings: Findings, before: str | None) -> None:
        """Give a run its findings, unless it has these very ones."""
        digest = findings.digest()
        if digest == before:
            return
        metrics = [_metric(name, value) for name, value in findings.metrics.items()]
        self._client.log_batch(run_id, metrics=metrics)
        from glmhmm_core.tables.export import write_csv

        with tempfile.TemporaryDirectory() as folder:
            for name, table in findings.tables.items():
                file = Path(folder) / f"{name}.csv"
                write_csv(table, file)
                self._client.log_artifact(run_id, str(file), "tables")
        for figure in findings.figures:
            self._client.log_artifact(run_id, str(figure), "figures")
        # Last, so that an interrupted update is done again.
        self._client.set_tag(run_id, "findings", digest)

    def _tags(self, model: LoggedModel, origin: Origin) -> dict[str, str]:
        """Name what runs are found and filtered by, and the way back to Dagster.

        MLflow shows links in a run's description, but not in tags.
        """
        back = origin.links(model.asset, None if model.of_all else model.subject)
        return {
            "study": origin.study,
            "stage": self._stage,
            "subject": model.subject,
            "model": model.model,
            "num_states": str(model.num_states),
            "fingerprint": model.fingerprint,
            "superseded": "false",
            "git_commit": self._code.commit,
            "git_dirty": self._code.dirty,
            "dagster_run_id": origin.dagster_run_id,
            "dagster_asset": f"{origin.study}/{model.asset}",
            "mlflow.source.name": "glmhmm",
            "mlflow.source.git.commit": self._code.commit,
            "mlflow.note.content": f"Study **{origin.study}**. {model.about}\n\n{back}",
            **model.tags,
            **model.status,
        }

    def _runs_of(self, subject: str) -> list[Run]:
        """All runs of a subject that this stage logged, newest first."""
        query = f"tags.subject = '{subject}' and tags.stage = '{self._stage}'"
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], query, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs


def _metric(name: str, value: float, step: int = 0) -> Metric:
    from mlflow.entities import Metric

    return Metric(name, float(value), int(time.time() * 1000), step)
