"""The databases of a home: made whole, once, and never over what somebody has in them."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from glmhmm_assets import stores
from glmhmm_assets.home import prepare_home
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.stores import DAGSTER, dagster_instance, follow_move, make_databases
from glmhmm_core.errors import InputError

FILE = Path("a/store.db")


def execute(path: Path, *statements: str) -> list[tuple]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


WHOLE = (
    "CREATE TABLE runs (name TEXT)",
    "CREATE TABLE alembic_version (version_num TEXT)",
    "INSERT INTO alembic_version VALUES ('head')",
)


def make(new: Path) -> None:
    execute(new / FILE, *WHOLE)


def version(base: Path) -> list[tuple]:
    return execute(base / FILE, "SELECT version_num FROM alembic_version")


#: Makes half of a database, says so, and goes on after a while.
SLOW = """
import sys, time
from pathlib import Path
from test_stores import FILE, WHOLE, execute
from glmhmm_assets.stores import make_databases
def make(new):
    execute(new / FILE, WHOLE[0])
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    execute(new / FILE, *WHOLE[1:])
make_databases(Path(sys.argv[1]), [FILE], make)
"""


def start(base: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, str(base), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_ends_while_it_makes_a_database_leaves_none(tmp_path, number):
    process = start(tmp_path, 60)
    assert process.stdout.readline() == "half\n"
    process.send_signal(number)
    process.communicate()
    assert not (tmp_path / FILE).exists()
    make_databases(tmp_path, [FILE], make)
    assert version(tmp_path) == [("head",)]
    assert list(tmp_path.glob(".new-*")) == []


def test_of_two_processes_one_makes_the_database(tmp_path):
    both = [start(tmp_path, 0.5) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert sorted(said) == ["", "half\n"]
    assert [process.returncode for process in both] == [0, 0]
    assert version(tmp_path) == [("head",)]


@pytest.mark.parametrize(
    "left",
    [
        (),
        WHOLE[:1],
        WHOLE[:2],
        (*WHOLE, "INSERT INTO alembic_version VALUES ('older')"),
        ("PRAGMA journal_mode = WAL", *WHOLE[:1]),
    ],
)
def test_a_database_that_was_left_unfinished_is_made_again(tmp_path, left):
    execute(tmp_path / FILE, "PRAGMA user_version", *left)
    (tmp_path / FILE).touch()
    make_databases(tmp_path, [FILE], make)
    assert version(tmp_path) == [("head",)]


def test_a_finished_database_of_another_program_stays_that_file(tmp_path):
    execute(tmp_path / FILE, *WHOLE)
    before = (tmp_path / FILE).stat().st_ino
    make_databases(tmp_path, [FILE], make)
    assert (tmp_path / FILE).stat().st_ino == before


def test_a_database_with_content_is_never_made_again(tmp_path):
    execute(tmp_path / FILE, WHOLE[0], "INSERT INTO runs VALUES ('mine')")
    make_databases(tmp_path, [FILE], make)
    assert execute(tmp_path / FILE, "SELECT name FROM runs") == [("mine",)]


def test_a_database_made_here_is_not_made_again(tmp_path):
    make_databases(tmp_path, [FILE], make)
    make_databases(tmp_path, [FILE], lambda _: pytest.fail("made again"))


def test_a_database_that_another_program_holds_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "HELD_SECONDS", 0.1)
    make_databases(tmp_path, [FILE], make)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"store\.db: another program holds .* wait for it"):
            make_databases(tmp_path, [FILE], make)


def test_what_is_no_database_is_told_and_kept(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"store\.db: it is not a database.*Move this file away"):
        make_databases(tmp_path, [FILE], make)
    assert (tmp_path / FILE).read_bytes().startswith(b"no database")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def full(new: Path) -> None:
        execute(new / FILE, WHOLE[0])
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(InputError, match=r"the disk is full\. Make room"):
        make_databases(tmp_path, [FILE], full)
    assert [file.name for file in tmp_path.iterdir()] == [".databases.lock"]


def test_a_home_gets_the_databases_of_dagster_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    home = prepare_home(tmp_path)
    execute(home / DAGSTER[0], "CREATE TABLE runs (id INTEGER)")
    with dagster_instance(home) as instance:
        assert instance.get_runs() == []
    for file in DAGSTER:
        assert len(execute(home / file, "SELECT * FROM alembic_version")) == 1


@pytest.mark.parametrize("said", ["run_launcher: [", "storage: 3", "unknown: 1", "- a list"])
def test_settings_that_dagster_cannot_use_are_told(tmp_path, monkeypatch, said):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(said)
    with (
        pytest.raises(InputError, match=r"dagster\.yaml: these settings cannot be used"),
        dagster_instance(prepare_home(tmp_path)),
    ):
        pass


@pytest.fixture
def held_store(tmp_path, monkeypatch):
    """An MLflow store that another program holds."""
    monkeypatch.setattr(stores, "HELD_SECONDS", 1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield MlflowTracker(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_an_mlflow_store_that_is_held_costs_no_fit(held_store):
    began = time.monotonic()
    with pytest.raises(dg.Failure, match=r"another program holds .*No fit is lost.* alone"):
        held_store.prepare()
    assert time.monotonic() - began < 60  # MLflow itself would try for minutes


def moved_store(old: Path, new: Path) -> Path:
    """A store with an experiment of the home ``old`` and a run of it, as it lies in ``new``."""
    execute(
        new / "mlflow.db",
        "CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT)",
        "CREATE TABLE runs (experiment_id INTEGER, artifact_uri TEXT)",
        f"INSERT INTO experiments VALUES (1, 'my mice', '{place_in(old)}')",
        "INSERT INTO experiments VALUES (2, 'elsewhere', 's3://lab/elsewhere')",
        f"INSERT INTO runs VALUES (1, '{place_in(old)}/ab12/artifacts')",
        "INSERT INTO runs VALUES (2, 's3://lab/elsewhere/cd34/artifacts')",
    )
    return new / "mlflow.db"


def place_in(home: Path) -> str:
    return (home / "mlflow" / "artifacts" / "my mice").as_uri()


def test_what_is_logged_after_a_home_was_moved_lies_below_the_new_place(tmp_path):
    old, new = tmp_path / "old home", tmp_path / "new home, longer"
    database = moved_store(old, new)
    follow_move(database, new / "mlflow" / "artifacts")
    assert execute(database, "SELECT artifact_location FROM experiments") == [
        (place_in(new),),
        ("s3://lab/elsewhere",),
    ]
    assert execute(database, "SELECT artifact_uri FROM runs") == [
        (f"{place_in(new)}/ab12/artifacts",),
        ("s3://lab/elsewhere/cd34/artifacts",),
    ]


def test_places_that_somebody_chose_are_kept(tmp_path):
    database = moved_store(tmp_path, tmp_path)
    chosen = "UPDATE experiments SET artifact_location = 'file:///big/disk' WHERE name = 'my mice'"
    execute(database, chosen)
    follow_move(database, tmp_path / "mlflow" / "artifacts")
    found = execute(database, "SELECT artifact_location FROM experiments WHERE name = 'my mice'")
    assert found == [("file:///big/disk",)]
