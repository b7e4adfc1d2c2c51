"""The demo: two example studies made from nothing and run through the graph.

What belongs here is making the session files of the studies ``rat`` and ``mice``; running them is
what ``glmhmm run`` does for any study.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from rich.console import Console

from glmhmm_assets.demo_rat import write_rat
from glmhmm_assets.home import prepare_home
from glmhmm_assets.study import DEFAULT_HOME, Study, dagster_home, load_study

#: The example studies.
STUDIES = ("rat", "mice")


def run_demo(console: Console) -> dict[str, int]:
    """Make the session files that are not there yet, and bring both studies up to date.

    Returns
    -------
    codes
        As of :func:`run_side_by_side`.

    Raises
    ------
    InputError
        If the rat's data are not installed, or a folder is in the way.
    """
    began = time.monotonic()
    home = prepare_home(dagster_home())
    for name in STUDIES:
        study = load_study(_study_file(home, name), home)
        console.print(f"{name}: {study.title}", style="bold")
        _make_sessions(study, console)
    codes = run_side_by_side(STUDIES, console)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.rule(f"done in {minutes} min {seconds} s")
    return codes


def run_side_by_side(names: Sequence[str], console: Console) -> dict[str, int]:
    """Run studies in processes of their own, since one leaves cores idle; tell their lines.

    Returns
    -------
    codes
        How ``glmhmm run`` of each ended: its exit code.
    """
    command = [sys.executable, "-c", "from glmhmm_assets.cli import main; main()", "run"]
    environment = {**os.environ, "COLUMNS": str(console.width)}

    def tell(name: str, lines: IO[str]) -> None:
        for line in lines:
            if line.strip():
                prefix = "" if line.startswith(f"{name}:") else f"{name}: "
                console.print(prefix + line.rstrip(), markup=False)

    runs = {
        name: subprocess.Popen(
            [*command, name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in names
    }
    with ThreadPoolExecutor(len(runs)) as threads, console.status("running both studies"):
        told = [threads.submit(tell, name, run.stdout) for name, run in runs.items() if run.stdout]
        try:
            # Not a wait without end: the signal handler that polars sets would not end it.
            while any(run.poll() is None for run in runs.values()):
                time.sleep(0.1)
            for one in told:
                one.result()
        except KeyboardInterrupt:
            for run in runs.values():
                run.send_signal(signal.SIGINT)  # each ends its run as Ctrl-C does
            raise
    return {name: run.wait() for name, run in runs.items()}


def what_was_made() -> str:
    """Say where everything is and how to look at it."""
    home = dagster_home()
    return f"""
What was made, in {home}:
  sessions/rat, sessions/mice     session files; mice/truth.json has the mice's true parameters
  storage/<study>/figures         figures of every subject; of all together in cohort/figures
  storage/<study>/...             trial and weight tables (Parquet), designs and fits (npz)
  mlflow/                         one MLflow run for every fitted model

Look at it in a browser:          make ui
Then try your own data:           README.md, "Your own data in five steps"
"""


def _study_file(home: Path, name: str) -> Path:
    """Give the study's file, copied into a home that is not the project's and lacks it."""
    ours, file = DEFAULT_HOME / "studies", home / "studies" / f"{name}.toml"
    if not file.exists():
        shutil.copy(ours / file.name, file)
        shutil.copytree(ours / "tasks", file.parent / "tasks", dirs_exist_ok=True)
    return file


def _make_sessions(study: Study, console: Console) -> None:
    """Write a study's session files unless they are there."""
    from glmhmm_core.simulation.ibl_cohort import simulate_ibl_cohort
    from glmhmm_core.simulation.ibl_files import write_ibl_cohort

    root = study.home / study.sessions.path
    if root.exists():
        console.print(f"Its session files are in {root} already")
    elif study.name == "rat":
        trials = write_rat(root / "rat.csv")
        console.print(f"{trials.height} real trials written to {root}")
    else:
        with console.status("simulating six mice"):
            write_ibl_cohort(root, simulate_ibl_cohort(6, seed=0))
        console.print(f"Six simulated mice written to {root}, their truth beside them")
