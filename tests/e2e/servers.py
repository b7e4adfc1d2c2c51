"""Processes for the tests to talk to, and what they are told and asked.

Everything listens on the loopback address at free ports and is ended by the process id that was
started here.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

GLMHMM = [sys.executable, "-c", "from glmhmm_assets.cli import main; main()"]

#: Without the network flags the browser looks for its maker's hosts at every start.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

STUDY = """
title = "Two who choose"
task = "two_afc"

[sessions]
path = "sessions/tiny"
format = "csv"
quiet_seconds = 0

[model]
num_states = [1, 2]
n_restarts = 2
cv_folds = 2

# What tests of its own have, and is slow.
[comparison]
models = []
prospective_folds = 0
session_kinds = false

[hierarchy]
enabled = false

[checks]
simulations = 0
recoveries = 0
"""


def drop_sessions(home: Path, subject: str, sessions: int = 4) -> None:
    """Put a subject's session file into the study's folder, as a lab's copying program would."""
    rng = np.random.default_rng(1)
    stimulus = rng.choice([-1.0, -0.5, 0.5, 1.0], 60 * sessions)
    engaged = np.repeat(rng.random(3 * sessions) < 0.5, 20)
    right = rng.random(len(stimulus)) < 1 / (1 + np.exp(-np.where(engaged, 4 * stimulus, 2)))
    pl.DataFrame(
        {
            "subject": subject,
            "session": np.repeat([f"day_{day}" for day in range(sessions)], 60),
            "stimulus": stimulus,
            "choice": right.astype(int),
            "feedback": ((stimulus > 0) == right).astype(int),
        }
    ).write_csv(home / "sessions" / "tiny" / f"{subject}.csv")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    """Environment of a process that works on a home."""
    env = {**os.environ, "DAGSTER_HOME": str(home), "COLUMNS": "200", **more}
    if "MLFLOW_TRACKING_URI" not in more:
        env.pop("MLFLOW_TRACKING_URI", None)
    return env


def end_with_parent() -> None:
    """Have a child told to end when the tests are killed before they can end it."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def wait_for(what: Callable[[], Any], seconds: float, said: str) -> Any:
    """Call until something true comes back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := what():
                return found
        time.sleep(0.5)
    raise AssertionError(f"{said}: not within {seconds:.0f} s")


def post(url: str, body: dict[str, Any]) -> Any:
    """Send and get JSON."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _processes() -> Iterator[tuple[int, int, int, str]]:
    """Id, parent, group and command line of every process that is not a zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, group = stat.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                command = (stat.parent / "cmdline").read_text().replace("\0", " ")
                yield int(stat.parent.name), int(parent), int(group), command


def children_of(process: int) -> list[int]:
    """Ids of the processes that a process started."""
    return [pid for pid, parent, _, _ in _processes() if parent == process]


def group_members(leader: int) -> list[str]:
    """Command lines of the processes in a process group."""
    return [command for _, _, group, command in _processes() if group == leader]


@dataclass
class Pages:
    """Dagster and MLflow as ``glmhmm ui`` started them."""

    process: subprocess.Popen
    output: Path
    dagster: str
    mlflow: str

    def graphql(self, query: str, **variables: Any) -> Any:
        """Ask Dagster."""
        answer = post(f"{self.dagster}/graphql", {"query": query, "variables": variables})
        assert "errors" not in answer, answer
        return answer["data"]

    def mlflow_runs(self, query: str = "") -> list[dict[str, Any]]:
        """Runs in MLflow's experiment of the study."""
        search = post(f"{self.mlflow}/api/2.0/mlflow/experiments/search", {"max_results": 10})
        ids = [e["experiment_id"] for e in search["experiments"] if e["name"] == "tiny"]
        body = {"experiment_ids": ids, "filter": query}
        return post(f"{self.mlflow}/api/2.0/mlflow/runs/search", body).get("runs", [])
