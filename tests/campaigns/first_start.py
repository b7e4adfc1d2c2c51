"""First starts that are killed, or that meet: none ruins the databases of a home.

``python tests/campaigns/first_start.py --kills 20 --races 10 --seed 1`` makes the databases of so
many fresh homes in processes of their own. Some are killed (by SIGKILL, SIGTERM or Ctrl-C) at any
moment; some start together. Then one more process does the same, undisturbed. A process that fails
where nobody disturbed it, or a database that is not whole, makes the program fail.
"""

import argparse
import collections
import contextlib
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from glmhmm_assets.home import prepare_home
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.stores import DAGSTER, dagster_instance
from glmhmm_core.errors import InputError

DATABASES = (*DAGSTER, Path("mlflow/mlflow.db"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Seconds that an undisturbed process may take, on a busy machine too.
PATIENCE = 600


def use(home: Path) -> None:
    """Use a home's databases as the first command does, making them where they are not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare_home(home)
    with dagster_instance(home) as instance:
        instance.get_runs()
    with contextlib.suppress(KeyboardInterrupt):
        MlflowTracker().prepare().search_experiments()
        return
    os._exit(130)


def started(home: Path) -> multiprocessing.Process:
    """A process that uses a home; it shares the imports of this one."""
    process = multiprocessing.get_context("fork").Process(target=use, args=(home,))
    process.start()
    return process


def ruined(home: Path) -> list[str]:
    """Say what of a home's databases is not whole, or was left behind."""
    said = [f"{left} was left behind" for left in home.rglob(".new-*")]
    for file in DATABASES:
        with contextlib.closing(sqlite3.connect(home / file)) as database:
            rows = database.execute("SELECT * FROM alembic_version").fetchall()
            fit = database.execute("PRAGMA integrity_check").fetchone()[0]
        if len(rows) != 1 or fit != "ok":
            said.append(f"{file}: versions {rows}, {fit}")
    return said


def killed(home: Path, rng: random.Random, seconds: float) -> str:
    """Kill a first start at some moment; say whether it was still at work."""
    process = started(home)
    moment = rng.random() * seconds
    began = time.monotonic()
    while time.monotonic() - began < moment and process.is_alive():
        time.sleep(0.005)
    if process.is_alive() and process.pid:
        os.kill(process.pid, rng.choice(SIGNALS))
    process.join(PATIENCE)
    return "finished before" if process.exitcode == 0 else "killed"


def campaign(kills: int, races: int, seed: int, folder: Path) -> collections.Counter[str]:
    """Try first starts; count how they ended, and every fault under what it was."""
    rng = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    seconds = 0.0
    for number in range(races):
        home = folder / f"race_{number}"
        began = time.monotonic()
        both = [started(home) for _ in range(2)]
        for process in both:
            process.join(PATIENCE)
        seconds = max(seconds, time.monotonic() - began)
        counts["two at once"] += 1
        counts["FAULT: one of two failed"] += any(process.exitcode != 0 for process in both)
        counts["FAULT: ruined by two"] += bool(ruined(home))
    for number in range(kills):
        home = folder / f"kill_{number}"
        counts[killed(home, rng, seconds or 30.0)] += 1
        after = started(home)
        after.join(PATIENCE)
        counts["FAULT: the next command failed"] += after.exitcode != 0
        counts["FAULT: ruined by a kill"] += bool(ruined(home))
    return counts


def main() -> None:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--races", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = campaign(given.kills, given.races, given.seed, Path(folder))
    for what, times in sorted(counts.items()):
        print(f"{times:6}  {what}")
    sys.exit(any(times for what, times in counts.items() if what.startswith("FAULT")))


if __name__ == "__main__":
    # Once, for all processes: it takes longer than what is tried.
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    try:
        main()
    except InputError as error:
        sys.exit(str(error))
