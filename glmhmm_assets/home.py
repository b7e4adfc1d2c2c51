"""The Dagster home of a command: its folders, its settings, and what children are told of it."""

import os
import shutil
from pathlib import Path

from glmhmm_assets.study import DEFAULT_HOME

#: Keep what is started from reporting to its makers.
NO_TELEMETRY = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def prepare_home(home: Path) -> Path:
    """Make a folder usable as Dagster's home, and this process and its children use it.

    A new home gets the project's instance settings; what is there is left alone.

    Returns
    -------
    home
        As an absolute path, which Dagster insists on.
    """
    home = home.absolute()
    (home / "studies").mkdir(parents=True, exist_ok=True)
    settings = DEFAULT_HOME / "dagster.yaml"
    if not (home / "dagster.yaml").exists() and settings.exists():
        shutil.copy(settings, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.update(NO_TELEMETRY)
    return home
