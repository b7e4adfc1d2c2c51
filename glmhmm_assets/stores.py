"""The databases of Dagster and MLflow in a home, made whole or not at all.

Both programs make their tables in place, in many steps and without a lock: a process that is killed
meanwhile, or a second one that starts meanwhile, leaves a database that never works again. Here
each is made in a folder of its own, by one process at a time, and moved into place when it is
finished.
"""

import contextlib
import enum
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from glmhmm_assets.faults import explained
from glmhmm_core.errors import InputError

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: Seconds that another program may keep a database from us before we say so.
HELD_SECONDS = 10
#: Seconds that another process may take to make the databases.
MAKING_SECONDS = 600
#: Databases of Dagster below its home.
DAGSTER = (Path("history/runs.db"), Path("history/runs/index.db"), Path("schedules/schedules.db"))
_NEW = ".new-"
#: ``PRAGMA user_version`` of a database that was made here, which neither program uses.
_OURS = 5


class _Found(enum.Enum):
    """State of a database file."""

    NOTHING = enum.auto()
    IN_USE = enum.auto()
    """Made here, or with rows of its user."""
    NO_CONTENT = enum.auto()
    """Tables, of which some may be missing, without any row of its user."""


@contextlib.contextmanager
def dagster_instance(home: Path) -> Iterator["DagsterInstance"]:
    """Open Dagster's instance of a home, whose databases are made if they are not there.

    Raises
    ------
    InputError
        If a database or ``dagster.yaml`` cannot be used.
    """
    from dagster import DagsterInstance

    prepare_dagster(home)
    settings = home / "dagster.yaml"
    with explained(str(home)):
        try:
            instance = DagsterInstance.get()
        except (OSError, sqlite3.Error):
            raise
        except Exception as error:  # whatever Dagster makes of settings that it cannot use
            raise _unusable(settings, error) from error
    with instance:
        yield instance


def prepare_dagster(home: Path) -> None:
    """Make Dagster's databases where they are missing, unless its settings name others.

    Raises
    ------
    InputError
        If one of them, or ``dagster.yaml``, cannot be used.
    """
    from dagster._core.instance.ref import InstanceRef
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

    settings = home / "dagster.yaml"
    with explained(str(settings)):
        try:
            storage = InstanceRef.from_dir(str(home)).storage_data
            usual = storage is not None and storage.class_name == "DagsterSqliteStorage"
            base = Path(storage.config_dict["base_dir"]) if usual and storage else None
        except OSError:
            raise
        except Exception as error:  # whatever YAML or Dagster makes of what is no settings file
            raise _unusable(settings, error) from error
    if base is not None:
        make_databases(base, DAGSTER, lambda new: DagsterSqliteStorage.from_local(str(new)))


def prepare_mlflow(database: Path, artifacts: str) -> None:
    """Make MLflow's database if it is not there; ``artifacts`` is where its files go by default.

    Raises
    ------
    InputError
        If it cannot be used.
    """

    def make(new: Path) -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from sqlalchemy.engine import URL

        uri = str(URL.create("sqlite", database=str(new / database.name)))
        SqlAlchemyStore(uri, artifacts).engine.dispose()

    make_databases(database.parent, [Path(database.name)], make)


def follow_move(database: Path, artifacts: Path) -> None:
    """Let the experiments of a home that was moved or copied keep their files below it.

    MLflow stores where the files of an experiment and of each run lie as absolute addresses, and
    offers no way to change them. Those below the ``mlflow/artifacts`` of another home are changed.

    Parameters
    ----------
    database
        The home's own SQLite store.
    artifacts
        Folder of the home's artifacts.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    told = "SELECT experiment_id, name, artifact_location FROM experiments"
    with explained(str(database)), closing(_connect(database)) as connection:
        for experiment, name, before in connection.execute(told).fetchall():
            now = (artifacts / name).as_uri()
            ending = now.removeprefix(artifacts.parents[1].as_uri())
            if before == now or not before.startswith("file:") or not before.endswith(ending):
                continue
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (now, len(before) + 1, experiment, len(before), before),
            )
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (now, experiment),
            )
            connection.execute("COMMIT")


def make_databases(base: Path, files: Sequence[Path], make: Callable[[Path], object]) -> None:
    """Make the databases that are missing below a folder, and those that were left unfinished.

    Parameters
    ----------
    base
        Their folder.
    files
        Their places, relative to it.
    make
        Makes all of them below the folder that it is given.

    Raises
    ------
    InputError
        If one cannot be used: another program holds it, it is damaged or cannot be written.
    """
    if all(_look(base / file) is _Found.IN_USE for file in files):
        return
    with explained(str(base)):
        base.mkdir(parents=True, exist_ok=True)
        with _alone(base):
            found = {file: _look(base / file) for file in files}
            if all(one is _Found.IN_USE for one in found.values()):
                return
            for left in base.glob(f"{_NEW}*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=_NEW, dir=base) as folder:
                new = Path(folder)
                make(new)
                for file, one in found.items():
                    _mark(new / file)
                    if one is _Found.NOTHING or (
                        one is _Found.NO_CONTENT and _shape(new / file) != _shape(base / file)
                    ):
                        _move(new / file, base / file)


@contextlib.contextmanager
def _alone(base: Path) -> Iterator[None]:
    """Let one process make the databases of a folder, and others wait for it."""
    try:
        held = FileLock(base / ".databases.lock").acquire(timeout=MAKING_SECONDS)
    except Timeout:
        raise InputError(
            f"another process has been making the databases for {MAKING_SECONDS} s",
            where=str(base),
            remedy="End it, and start again.",
        ) from None
    with held:
        yield


def _look(path: Path) -> _Found:
    """Say what lies at a database's place.

    Raises
    ------
    InputError
        If it cannot be written now, or is no database.
    """
    with explained(str(path)):
        if not path.exists():
            return _Found.NOTHING
        if path.stat().st_size == 0:
            return _Found.NO_CONTENT
        with closing(_connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # what every later writing needs
            connection.execute("ROLLBACK")
            if connection.execute("PRAGMA user_version").fetchone()[0] == _OURS:
                return _Found.IN_USE
            for table in _tables(connection) & {"runs", "event_logs", "jobs", "job_ticks"}:
                if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                    return _Found.IN_USE
        return _Found.NO_CONTENT


def _shape(path: Path) -> object:
    """Give the tables and the version of a database: those of one left unfinished differ."""
    with closing(_connect(path)) as connection:
        tables = _tables(connection)
        known = "alembic_version" in tables
        rows = connection.execute("SELECT version_num FROM alembic_version") if known else ()
        return tables, sorted(rows)


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database that is there."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", HELD_SECONDS, isolation_level=None, uri=True
    )


def _mark(path: Path) -> None:
    with closing(_connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {_OURS}")


def _move(new: Path, place: Path) -> None:
    """Move a finished database to its place, and away from there what belongs to no database."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("-wal", "-shm", "-journal"):
        place.with_name(place.name + suffix).unlink(missing_ok=True)
    new.replace(place)


def _unusable(settings: Path, error: Exception) -> InputError:
    said = " ".join(str(error).split())[:300]
    return InputError(
        f"these settings cannot be used ({said})",
        where=str(settings),
        remedy="Mend the file, or delete it: the next command writes a new one.",
    )
