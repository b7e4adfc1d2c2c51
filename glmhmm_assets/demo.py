"""The demo: two example studies made from nothing and run through the graph.

What belongs here is making the session files of the studies ``rat`` and ``mice``; running them is
what ``glmhmm run`` does for any study.
"""

import shutil
import time
from pathlib import Path

from rich.console import Console

from glmhmm_assets.demo_rat import write_rat
from glmhmm_assets.home import prepare_home
from glmhmm_assets.runner import Outcome, run_study
from glmhmm_assets.study import DEFAULT_HOME, Study, dagster_home, load_study

#: The example studies, the quicker one first.
STUDIES = ("rat", "mice")


def run_demo(console: Console) -> dict[str, Outcome]:
    """Make the session files that are not there yet, and bring both studies up to date.

    Raises
    ------
    InputError
        If the rat's data are not installed, or a folder is in the way.
    """
    began = time.monotonic()
    home = prepare_home(dagster_home())
    outcomes = {}
    for name in STUDIES:
        study = load_study(_study_file(home, name), home)
        console.rule(study.title)
        _make_sessions(study, console)
        outcomes[name] = run_study(study, (), console)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.rule(f"done in {minutes} min {seconds} s")
    return outcomes


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
