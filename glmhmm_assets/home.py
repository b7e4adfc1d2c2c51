"""The Dagster home of a command: its folders, its settings, and what children are told of it."""

import os
import shutil
from pathlib import Path

from glmhmm_assets.study import DEFAULT_HOME
from glmhmm_core.errors import InputError

#: Keep what is started from reporting to its makers.
NO_TELEMETRY = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
#: Characters that have a meaning of their own in the addresses of databases.
_NOT_IN_ADDRESSES = "?%"


def prepare_home(home: Path) -> Path:
    """Make a folder usable as Dagster's home, and this process and its children use it.

    A new home gets the project's instance settings; what is there is left alone.

    Returns
    -------
    home
        As an absolute path, which Dagster insists on.

    Raises
    ------
    InputError
        If it is no folder, cannot be written, or has a name that no database can lie below.
    """
    home = home.expanduser().absolute()
    for character in _NOT_IN_ADDRESSES:
        if character in str(home):
            raise InputError(
                f"databases cannot lie in a folder with {character} in its path",
                where=f"DAGSTER_HOME={home}",
                remedy="Rename the folder, or let DAGSTER_HOME name another one.",
            )
    try:
        (home / "studies").mkdir(parents=True, exist_ok=True)
        settings = DEFAULT_HOME / "dagster.yaml"
        if not (home / "dagster.yaml").exists() and settings.exists():
            shutil.copy(settings, home / "dagster.yaml")
    except OSError as error:
        raise InputError(
            f"this folder cannot be made or written ({error.strerror})",
            where=f"DAGSTER_HOME={home}",
            remedy="Give yourself the right to, or let DAGSTER_HOME name another folder.",
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.update(NO_TELEMETRY)
    return home
