"""How runs are started, and how one that was left behind is found.

Dagster's own launcher cannot tell a run that is working from one whose process went with the
machine it ran on: such a run would stay "started" for ever, and hold the fits' slot with it.
"""

from pathlib import Path

from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import GRPC_INFO_TAG

from glmhmm_assets.partitions import STUDY_TAG

#: Tag on runs that a command line executes in its own process.
BY_HAND_TAG = "glmhmm/by_hand"


def by_hand_lock(home: Path, study: str) -> Path:
    """File that the process of a study's run by hand keeps locked; the lock ends with it."""
    return home / "storage" / study / "by_hand.lock"


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's launcher, which also says whether a run's process is still there.

    Run monitoring asks it, marks a run without a process as failed, and run retries start it
    again; its fits are found in the store.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Let run monitoring ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started a run whether it still has it."""
        # Deferred as in the base class: these take a while to import.
        import grpc  # type: ignore[import-untyped]
        from dagster._core.errors import DagsterUserCodeUnreachableError
        from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
        from dagster._serdes import deserialize_value

        if BY_HAND_TAG in run.tags:
            return self._check_by_hand(run)
        if GRPC_INFO_TAG not in run.tags:  # started by some other program
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:  # finished meanwhile
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id))
        except DagsterUserCodeUnreachableError as error:
            cause = error.__cause__
            if isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.UNAVAILABLE:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server is gone")
            return CheckRunHealthResult(WorkerStatus.RUNNING)  # too busy to answer in time
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")

    def _check_by_hand(self, run: DagsterRun) -> CheckRunHealthResult:
        """Look whether the study's lock is held."""
        from glmhmm_assets.leftovers import is_run_by_hand

        if is_run_by_hand(Path(self._instance.root_directory), run.tags[STUDY_TAG]):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")
