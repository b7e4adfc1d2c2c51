"""Cost of a run of the graph: ``python -m benchmarks.graph [--subjects N] [--sessions S]``.

A new home with simulated subjects is run three times, each in a process of its own: the first
run, then one by hand in which nothing changed, then what the night's schedule does. Given are CPU
seconds by asset, files written, and what databases grew by. CPU time, unlike the clock, is
little moved by what else runs on the machine.
"""

import argparse
import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from benchmarks.table import print_table, say

#: Fits are as light as can be: what is measured is what goes on around them.
STUDY = """
title = "Simulated subjects"
task = "two_afc"

[sessions]
path = "sessions"
format = "csv"
quiet_seconds = 0

[model]
num_states = [1, 2, 3]
n_restarts = 2
cv_folds = 2

[comparison]
models = ["lapse_class"]
prospective_folds = 0
session_kinds = false

[hierarchy]
enabled = false

[checks]
simulations = 0
recoveries = 0
"""
TRIALS = 100
#: Tables of Dagster's databases that grow with every run, sensor's look or schedule's tick.
EVENTS = "event_logs"


@dataclass(frozen=True)
class Cost:
    """Cost of one run.

    Attributes
    ----------
    cpu
        Seconds of CPU, of the process and its children.
    memory
        Largest resident memory, bytes.
    written
        Bytes handed to the operating system to be written.
    files, file_bytes
        Number and size of the files below the study's storage that are not as they were.
    databases
        Bytes by which Dagster's and MLflow's databases grew.
    events
        For each asset the number of its events and their bytes.
    steps
        Seconds of CPU of each step.
    """

    cpu: float
    memory: int
    written: int
    files: int
    file_bytes: int
    databases: int
    events: Mapping[str, tuple[int, int]]
    steps: Mapping[str, float]


def make_home(home: Path, subjects: int, sessions: int) -> None:
    """Make a home with one study of subjects that are engaged in some stretches of trials."""
    (home / "studies").mkdir(parents=True)
    (home / "studies" / "quiet.toml").write_text(STUDY)
    (home / "sessions").mkdir()
    for number in range(subjects):
        rng = np.random.default_rng(number)
        n = sessions * TRIALS
        stimulus = rng.choice([-1.0, -0.5, -0.25, 0.25, 0.5, 1.0], n)
        engaged = np.repeat(rng.random(n // 25 + 1) < 0.6, 25)[:n]
        right = rng.random(n) < 1 / (1 + np.exp(-np.where(engaged, 5 * stimulus, 1.5)))
        table = {
            "subject": f"mouse_{number:03d}",
            "session": np.repeat([f"s{i:02d}" for i in range(sessions)], TRIALS),
            "stimulus": stimulus,
            "choice": right.astype(int),
            "feedback": (right == (stimulus > 0)).astype(int),
        }
        pl.DataFrame(table).write_csv(home / "sessions" / f"mouse_{number:03d}.csv")


def measure(home: Path, what: str) -> Cost:
    """Run in a process of its own, and compare what is on disk before and after."""
    files, databases, events = _files(home), _databases(home), _events(home)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.graph", "--worker", what, "--home", str(home)],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    after = _files(home)
    changed = {
        path: size for path, (time, size) in after.items() if files.get(path) != (time, size)
    }
    grown = _events(home)
    return Cost(
        cpu=told["cpu"],
        memory=told["memory"],
        written=told["written"],
        files=len(changed),
        file_bytes=sum(changed.values()),
        databases=_databases(home) - databases,
        events={
            asset: (count - events.get(asset, (0, 0))[0], size - events.get(asset, (0, 0))[1])
            for asset, (count, size) in grown.items()
        },
        steps=told["steps"],
    )


def _files(home: Path) -> dict[Path, tuple[int, int]]:
    paths = [path for path in (home / "storage" / "quiet").rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


def _database_files(home: Path) -> list[Path]:
    folders = ("history", "schedules", "mlflow")
    return [path for folder in folders for path in (home / folder).rglob("*.db*")]


def _databases(home: Path) -> int:
    return sum(path.stat().st_size for path in _database_files(home))


def _events(home: Path) -> dict[str, tuple[int, int]]:
    """Number and bytes of the events of every asset, in all of Dagster's databases."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for path in _database_files(home):
        if path.suffix != ".db" or path.parts[-2] == "mlflow":
            continue
        with contextlib.closing(sqlite3.connect(path)) as database:
            tables = {row[0] for row in database.execute("select name from sqlite_master")}
            if EVENTS not in tables:
                continue
            asked = f"select asset_key, count(*), sum(length(event)) from {EVENTS} group by 1"
            for key, count, size in database.execute(asked):
                name = json.loads(key)[-1] if key else "(none)"
                counts[name] += count
                sizes[name] += size
    return {name: (counts[name], sizes[name]) for name in counts}


def work(home: Path, what: str) -> dict[str, Any]:
    """Do one run, and measure it from within."""
    import dagster as dg

    from glmhmm_assets.home import prepare_home

    prepare_home(home)
    steps: dict[str, float] = defaultdict(float)
    began: dict[str, float] = {}
    handle = dg.DagsterInstance.handle_new_event

    def noted(instance: dg.DagsterInstance, entry: dg.EventLogEntry, **more: Any) -> None:
        event = entry.dagster_event
        if event is not None and event.step_key:
            if event.event_type_value == "STEP_START":
                began[event.step_key] = _cpu()
            if event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE"):
                steps[event.step_key.split("__")[-1]] += _cpu() - began[event.step_key]
        handle(instance, entry, **more)

    with patch.object(dg.DagsterInstance, handle.__name__, noted):
        {"run": _run, "night": _night}[what](home)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {
        "cpu": _cpu(),
        "memory": usage.ru_maxrss * 1024,
        "written": int(io["wchar"]),
        "steps": steps,
    }


def _cpu() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _run(home: Path) -> None:
    from rich.console import Console

    from glmhmm_assets.runner import run_study
    from glmhmm_assets.study import load_study

    outcome = run_study(
        load_study(home / "studies" / "quiet.toml"), (), Console(file=sys.stderr, width=100)
    )
    if outcome.problems:
        raise SystemExit("\n".join(outcome.problems))


def _night(home: Path) -> None:
    """Ask the nightly schedule, as the daemon does, and run what it asks for."""
    import dagster as dg

    from glmhmm_assets.definitions import build_defs

    definitions = build_defs(home)
    with dg.DagsterInstance.get() as instance:
        schedule = definitions.resolve_schedule_def("quiet_nightly")
        told = schedule(dg.build_schedule_context(instance=instance))
        say(f"the schedule: {told}")
        if isinstance(told, dg.RunRequest):
            job = definitions.resolve_implicit_global_asset_job_def()
            selection = [
                key
                for key in job.asset_layer.executable_asset_keys
                if job.asset_layer.get(key).is_partitioned
            ]
            job.get_subset(asset_selection=set(selection)).execute_in_process(
                instance=instance, tags=told.tags
            )


def main() -> None:
    """Measure a first run, one in which nothing changed, and a quiet night."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="two subjects")
    parser.add_argument("--home", type=Path, help="where to; a temporary folder when left out")
    parser.add_argument("--worker", choices=["run", "night"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(work(asked.home, asked.worker)))
        return
    subjects = 2 if asked.quick else asked.subjects
    with tempfile.TemporaryDirectory() as folder:
        home = (asked.home or Path(folder) / "home").absolute()
        make_home(home, subjects, asked.sessions)
        costs = {}
        for name, what in (("first run", "run"), ("same again", "run"), ("night", "night")):
            say(f"{name} ...")
            begin = time.perf_counter()
            costs[name] = measure(home, what)
            say(f"... {time.perf_counter() - begin:.0f} s")
    title = f"{subjects} subjects of {asked.sessions} sessions of {TRIALS} trials"
    print_table(
        title,
        ["", "CPU s", "peak MiB", "MB written", "files", "MB of files", "MB of databases"],
        [
            [
                name,
                f"{cost.cpu:.1f}",
                f"{cost.memory / 2**20:.0f}",
                f"{cost.written / 1e6:.2f}",
                str(cost.files),
                f"{cost.file_bytes / 1e6:.2f}",
                f"{cost.databases / 1e6:.3f}",
            ]
            for name, cost in costs.items()
        ],
    )
    first, again = costs["first run"], costs["same again"]
    names = sorted({*first.steps, *first.events}, key=lambda n: -first.steps.get(n, 0.0))
    print_table(
        f"{title}: by asset, the first run and the same again",
        ["asset", "CPU s", "events", "kB of events", "CPU s again", "kB of events again"],
        [
            [
                name,
                f"{first.steps.get(name, 0.0):.2f}",
                str(first.events.get(name, (0, 0))[0]),
                f"{first.events.get(name, (0, 0))[1] / 1e3:.0f}",
                f"{again.steps.get(name, 0.0):.2f}",
                f"{again.events.get(name, (0, 0))[1] / 1e3:.0f}",
            ]
            for name in names
        ],
    )


if __name__ == "__main__":
    main()
