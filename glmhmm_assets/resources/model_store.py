"""One study's experiment in MLflow: how runs are found, written and superseded.

Only ``MlflowClient`` is used: the fluent interface keeps an active run in a global, which the
subjects of one batch would share. Which store the client talks to is the tracker's business.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from glmhmm_assets.resources.model_run import (
    Origin,
    code_version,
    run_metrics,
    run_params,
    run_tags,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from glmhmm_core.fitting.result import FitResult, SubjectFits

#: Opens MLflow's pages for training runs; without it they come up in their mode for chat traces.
WORKFLOW = "workflowType=machine_learning"


@dataclass(frozen=True)
class ModelRun:
    """An MLflow run of one fitted model; ``reused`` when it was there already."""

    run_id: str
    url: str
    reused: bool


class ModelStore:
    """One study's experiment."""

    def __init__(self, client: MlflowClient, experiment_id: str, pages: str) -> None:
        self._client, self.experiment_id = client, experiment_id
        self._runs_page = f"{pages}/#/experiments/{experiment_id}/runs"
        self._code = code_version()

    def subject_url(self, subject: str) -> str:
        """Give the page of the subject's runs that count."""
        query = f"tags.subject = '{subject}' and tags.superseded = 'false'"
        return f"{self._runs_page}?searchFilter={quote(query, safe='')}&{WORKFLOW}"

    def log(
        self, fits: SubjectFits, origin: Origin, figures: Mapping[int, Sequence[Path]]
    ) -> dict[int, ModelRun]:
        """Give every model of a subject its run, and mark the subject's older runs superseded.

        A run of the same fingerprint that was finished is taken as it is, so that doing this
        again changes nothing; what a killed attempt left half written does not count.

        Parameters
        ----------
        fits
            The subject's models.
        origin
            Where they come from.
        figures
            Picture files that belong to the model with so many states.

        Returns
        -------
        runs
            By number of states.
        """
        runs = {}
        for fit in fits.fits:
            run_id = self._find(fits, fit)
            reused = run_id is not None
            if run_id is None:
                run_id = self._write(fits, fit, origin, figures.get(fit.num_states, ()))
            url = f"{self._runs_page}/{run_id}?{WORKFLOW}"
            runs[fit.num_states] = ModelRun(run_id, url, reused)
        keep = frozenset(run.run_id for run in runs.values())
        self.supersede(fits.subject, f"fingerprint {fits.fingerprint}", keep)
        return runs

    def supersede(self, subject: str, by: str, keep: Collection[str] = ()) -> int:
        """Mark a subject's runs superseded, all but those to keep; tell how many were marked.

        A run to keep that was superseded counts again: its data came back (a file restored, a
        correction undone). A run that a killed attempt left open is ended.
        """
        marked = 0
        for run in self._search(f"tags.subject = '{subject}'"):
            run_id, tags = run.info.run_id, run.data.tags
            if run_id in keep:
                if tags.get("superseded") != "false":
                    self._client.set_tag(run_id, "superseded_by", "")
                    self._client.set_tag(run_id, "superseded", "false")
            elif tags.get("superseded") != "true":
                if run.info.status == "RUNNING":
                    self._client.set_terminated(run_id, "KILLED")
                self._client.set_tag(run_id, "superseded_by", by)
                # Last, so that an interrupted marking is done again.
                self._client.set_tag(run_id, "superseded", "true")
                marked += 1
        return marked

    def _find(self, fits: SubjectFits, fit: FitResult) -> str | None:
        """Find the finished run of this very fit."""
        found = self._search(
            f"tags.subject = '{fits.subject}' and tags.fingerprint = '{fits.fingerprint}' "
            f"and tags.num_states = '{fit.num_states}' and attributes.status = 'FINISHED'"
        )
        return found[0].info.run_id if found else None

    def _write(
        self, fits: SubjectFits, fit: FitResult, origin: Origin, figures: Iterable[Path]
    ) -> str:
        """Write one run; it is FINISHED only once everything in it is."""
        from mlflow.entities import Metric, Param

        from glmhmm_core.fitting.store import save_fits

        now = int(time.time() * 1000)
        run: Run = self._client.create_run(
            self.experiment_id,
            tags=run_tags(fits, fit, origin, self._code),
            run_name=f"{fits.subject} K={fit.num_states}",
        )
        run_id = run.info.run_id
        metrics = [Metric(name, value, now, 0) for name, value in run_metrics(fit).items()]
        metrics += [
            Metric("em_objective", float(value), now, step)
            for step, value in enumerate(fit.log_probability)
        ]
        params = [Param(name, value) for name, value in run_params(fits, fit, origin).items()]
        self._client.log_batch(run_id, metrics=metrics, params=params)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "fit.npz"
            save_fits(file, replace(fits, fits=(fit,)))
            self._client.log_artifact(run_id, str(file))
        for figure in figures:
            self._client.log_artifact(run_id, str(figure), "figures")
        self._client.set_terminated(run_id, "FINISHED")
        return run_id

    def _search(self, query: str) -> list[Run]:
        """All runs of the experiment that match, newest first."""
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], query, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs
