"""The command line: what it says, what it leaves behind, and its exit codes."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from filelock import FileLock
from rich.console import Console

from glmhmm_assets import definitions
from glmhmm_assets.cli import main
from glmhmm_assets.defs.ingest import build_raw_sessions
from glmhmm_assets.defs.population import build_population_fit
from glmhmm_assets.demo import run_side_by_side
from glmhmm_assets.launcher import by_hand_lock
from glmhmm_assets.partitions import STUDY_TAG
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.runner import _choose
from glmhmm_assets.standing import refit_log
from glmhmm_assets.study import load_study
from glmhmm_core.trials.scan import scan

STUDY = """
title = "Three who choose"
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


def write_subject(home: Path, name: str, sessions: int = 4) -> None:
    rng = np.random.default_rng(sum(map(ord, name)))
    level, chance = rng.random((sessions, 2, 60)).swapaxes(0, 1).reshape(2, -1)
    stimulus = np.array([-1.0, -0.5, 0.5, 1.0])[(4 * level).astype(int)]
    choice = (chance < 1 / (1 + np.exp(-3 * stimulus))).astype(int)
    table = pl.DataFrame(
        {
            "subject": name,
            "session": np.repeat([f"day_{day}" for day in range(sessions)], 60),
            "stimulus": stimulus,
            "choice": choice,
            "feedback": ((stimulus > 0) == choice).astype(int),
        }
    )
    folder = home / "sessions" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    table.write_csv(folder / f"{name}.csv")


def write_home(home: Path, *names: str) -> Path:
    (home / "studies").mkdir(parents=True)
    (home / "studies" / "tiny.toml").write_text(STUDY)
    for name in names:
        write_subject(home, name)
    return home


@pytest.fixture
def call(monkeypatch):
    """Call the command line on a home; give its exit code and all that it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # MLflow configures logging anew, whereupon absl's handler closes what was sys.stderr when it
    # was imported unless that still is: pytest's, while Click's stands in its place.
    monkeypatch.setattr("absl.logging.PythonHandler.close", logging.Handler.close)

    def call(home: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    return call


def make_only(monkeypatch, choose):
    """Let runs in this process make no assets over subjects, and those chosen of a subject's."""

    def only(study):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            made = choose(definitions.subject_assets(study))
        return dg.Definitions([build_raw_sessions(study), build_population_fit(study), *made])

    monkeypatch.setattr(definitions, "study_definitions", only)


@pytest.fixture
def only_fits(monkeypatch):
    """Let runs make nothing beyond the fits, which come third."""
    make_only(monkeypatch, lambda assets: assets[:3])


@pytest.fixture
def no_pictures(monkeypatch):
    """Let runs make no assets that are pictures alone."""

    def no_picture(asset):
        return all(spec.kinds != {"matplotlib"} for spec in asset.specs)

    make_only(monkeypatch, lambda assets: list(filter(no_picture, assets)))


@pytest.mark.parametrize("command", ["run", "promote", "check", "ui", "demo"])
def test_help_teaches(command):
    assert command in CliRunner().invoke(main, ["--help"]).output
    told = CliRunner().invoke(main, [command, "--help"]).output
    assert len(told.split()) > 40
    if command in ("run", "promote", "check"):
        assert f"glmhmm {command} mice" in told
        assert "Exit codes:" in told


def test_help_is_quick_because_nothing_heavy_is_loaded():
    heavy = ["dagster", "jax", "mlflow", "matplotlib", "polars", "dynamax"]
    code = f"import glmhmm_assets.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["run", "check"])
def test_an_unknown_study_is_told_with_the_nearest(call, tmp_path, command):
    code, said = call(write_home(tmp_path / "home", "ann"), command, "tinny")
    assert code == 2
    assert "there is no study 'tinny'. Did you mean tiny?" in said


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_broken_study_is_told_with_its_remedy(call, tmp_path, command):
    home = write_home(tmp_path / "home", "ann")
    file = home / "studies" / "tiny.toml"
    file.write_text(file.read_text().replace("n_restarts", "n_restart"))
    code, said = call(home, command, "tiny")
    assert code == 2
    assert "tiny.toml: unknown key 'n_restart' in [model]. Did you mean 'n_restarts'?" in said


@pytest.mark.parametrize("command", ["run", "check"])
def test_absent_session_files_are_told(call, tmp_path, command):
    code, said = call(write_home(tmp_path / "home"), command, "tiny")
    assert code == 2
    assert "sessions/tiny" in said


def test_check_shows_what_is_kept_and_why_the_rest_is_not(call, tmp_path):
    home = write_home(tmp_path / "home", "ann", "ben")
    (home / "sessions" / "tiny" / "bad.csv").write_text("subject,session\nbad,one\n")
    file = home / "studies" / "tiny.toml"
    file.write_text(
        file.read_text() + '[[exclude]]\nsubject = "ben"\nsession = "day_1"\n'
        'reason = "the [left] lever stuck"\n'
    )
    report = tmp_path / "dropped.csv"
    code, said = call(home, "check", "tiny", "--report", str(report))
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()}
    assert lines["ann"][:4] == ["4", "0", "240", "0"]
    assert lines["ben"][:4] == ["3", "1", "180", "0"]
    assert "the [left] lever stuck" in said
    assert "bad.csv" in said
    written = pl.read_csv(report)
    assert "the [left] lever stuck" in written["reason"].str.join(" ").item()
    assert code in (0, 3)
    assert {p.name for p in home.iterdir()} == {"dagster.yaml", "sessions", "studies"}  # no more


def test_check_says_by_its_exit_code_that_a_subject_is_left_out(call, tmp_path):
    home = write_home(tmp_path / "home", "ann", "ben")
    file = home / "studies" / "tiny.toml"
    file.write_text(file.read_text() + '[[exclude]]\nsubject = "ben"\nreason = "was ill"\n')
    code, said = call(home, "check", "tiny")
    assert code == 3
    (line,) = [line for line in said.splitlines() if line.startswith("ben is left out: ")]
    assert "was ill" in line


def test_check_names_every_refused_subject_and_file(call, tmp_path):
    home = write_home(tmp_path / "home", "ann", "Ben")
    folder = home / "sessions" / "tiny"
    for file, name in (("evil", "../x"), ("dots", "a...b"), ("twin", "ben")):
        (folder / f"{file}.csv").write_text((folder / "Ben.csv").read_text().replace("Ben", name))
    for number in range(7):
        (folder / f"bad_{number}.csv").write_text("subject,session\nbad,one\n")
    code, said = call(home, "check", "tiny")
    assert code == 3
    for name, file in (("../x", "evil"), ("a...b", "dots"), ("ben", "twin"), ("Ben", "Ben")):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name} is left out: ")]
        assert f"{file}.csv" in line + said.split(line)[1].split("\n")[1]
    assert sum(f"bad_{number}.csv: has no column" in said for number in range(7)) == 5
    assert "and 2 more: --report FILE writes them all" in said


def test_check_says_that_nothing_can_be_used(call, tmp_path):
    home = write_home(tmp_path / "home", "ann")
    file = home / "studies" / "tiny.toml"
    file.write_text(file.read_text() + '[[exclude]]\nsubject = "ann"\nreason = "was ill"\n')
    code, said = call(home, "check", "tiny")
    assert code == 2
    assert "No subject can be used." in said


def test_check_of_files_that_cannot_be_read_is_not_done(call, tmp_path):
    home = write_home(tmp_path / "home", "ann")
    (home / "sessions" / "tiny" / "ann.csv").write_text("nothing,here\n1,2\n")
    code, said = call(home, "check", "tiny")
    assert code == 2
    assert "ann.csv" in said


def test_a_subject_that_the_study_asks_for_and_nobody_has_is_left_out(call, tmp_path):
    home = write_home(tmp_path / "home", "ann")
    file = home / "studies" / "tiny.toml"
    file.write_text(file.read_text() + '[subjects]\ninclude = ["ann", "anne"]\n')
    code, said = call(home, "check", "tiny")
    assert code == 3
    assert "anne is left out: the study includes it, but there is no such subject" in said


@pytest.mark.parametrize("name", ["907", "907.0"])
def test_a_subject_stored_as_907_0_is_found_however_it_is_asked_for(tmp_path, name):
    home = write_home(tmp_path / "home", "906.0", "907.0")
    file = home / "studies" / "tiny.toml"
    file.write_text(file.read_text() + f'[subjects]\ninclude = ["{name}"]\n')
    study = load_study(file)
    found = list(scan(study.sessions_root, "csv", study.load_task()).subjects)
    assert found == ["906", "907"]
    assert study.who_counts(found) == {"907"}
    assert _choose(study, [name], found) == ["907"]


def copy_a_session(home, name):
    file = home / "sessions" / "tiny" / f"{name}.csv"
    table = pl.read_csv(file)
    copy = table.filter(session="day_0").with_columns(session=pl.lit("day_9"))
    pl.concat([table, copy]).write_csv(file)


def section(said, title):
    """Lines of one section of what ``check`` says."""
    return said.split(f"\n{title}")[1].split("\n\n")[0]


def test_check_tells_what_looks_wrong_before_what_was_dropped(call, tmp_path):
    home = write_home(tmp_path / "home", "ann", "ben")
    copy_a_session(home, "ann")
    file = home / "studies" / "tiny.toml"
    file.write_text(
        file.read_text() + '[[exclude]]\nsubject = "ben"\nsession = "day_1"\nreason = "no"\n'
    )
    code, said = call(home, "check", "tiny")
    assert code == 0
    assert "ann: day_9: it equals session day_0" in section(said, "Please look at")
    assert said.index("Please look at") < said.index("Dropped or altered")


def test_a_session_that_looks_wrong_is_not_counted_as_dropped(call, tmp_path):
    home = write_home(tmp_path / "home", "ann")
    copy_a_session(home, "ann")
    _, said = call(home, "check", "tiny")
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()}
    assert lines["ann"][:2] == ["5", "0"]
    assert "Dropped or altered" not in said


def test_check_gives_one_example_of_what_looks_wrong_with_all_subjects(call, tmp_path):
    home = write_home(tmp_path / "home", "ann", "ben", "cem")
    for name in ("ann", "ben", "cem"):
        copy_a_session(home, name)
    _, said = call(home, "check", "tiny")
    assert said.count("it equals session") == 1
    assert "and 2 more: --report FILE writes them all" in section(said, "Please look at")


def test_a_taken_port_is_told(call, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = call(write_home(tmp_path / "home"), "ui", "--dagster-port", port)
    assert code == 2
    assert f"--dagster-port: port {port} cannot be used" in said


def test_pages_that_are_open_are_not_opened_again(call, tmp_path):
    home = write_home(tmp_path / "home")
    with FileLock(home / "ui.lock"):
        code, said = call(home, "ui")
    assert code == 2
    assert "its pages are open already" in said


def test_the_demo_says_what_is_missing(call, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    code, said = call(tmp_path / "home", "demo")
    assert code == 2
    assert "psytrack, which is not installed. Run `make setup`" in said


def test_the_demo_tells_which_study_a_line_is_of_and_how_each_ended(tmp_path, monkeypatch):
    home = write_home(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    console = Console(file=io.StringIO(), width=200)
    assert run_side_by_side(["none", "tiny"], console) == {"none": 2, "tiny": 2}
    lines = console.file.getvalue().splitlines()
    assert sum(line.startswith("none: Cannot be used: ") for line in lines) == 1
    assert sum(line.startswith("tiny: Cannot be used: ") for line in lines) == 1


def test_the_demo_names_a_study_once_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(write_home(tmp_path / "home")))
    console = Console(file=io.StringIO(), width=200)
    name = "Cannot be used"  # so that what the run prints begins with its study's name
    assert run_side_by_side([name], console) == {name: 2}
    assert console.file.getvalue().startswith(f"{name}: /")


@pytest.fixture(scope="module")
def run_home(tmp_path_factory):
    """A home whose study five subjects belong to, two of whom were run."""
    home = write_home(tmp_path_factory.mktemp("cli") / "home", *"abcde")
    env = {**os.environ, "DAGSTER_HOME": str(home), "COLUMNS": "200"}
    env.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", "from glmhmm_assets.cli import main; main()"]
    arguments = ["run", "tiny", "-s", "a", "-s", "d"]
    done = subprocess.run(command + arguments, env=env, capture_output=True, text=True)
    return home, done


def instance_of(home):
    return dg.DagsterInstance.from_config(str(home))


def made(home, asset):
    with instance_of(home) as instance:
        return instance.get_materialized_partitions(dg.AssetKey(["tiny", asset]))


@pytest.mark.slow
def test_a_run_makes_everything_for_those_asked_and_nothing_for_others(run_home):
    home, done = run_home
    assert done.returncode == 0, done.stdout + done.stderr
    for asset in ("raw_sessions", "subject_fits", "fit_tracking", "weights", "trial_table"):
        assert made(home, asset) == {"a", "d"}, asset
    assert "tiny: subject_fits done in" in done.stdout
    assert "tiny: 2 subjects have fits" in done.stdout
    with instance_of(home) as instance:
        assert instance.get_dynamic_partitions("tiny_subjects") == ["a", "d"]
        assert instance.get_latest_materialization_event(dg.AssetKey(["tiny", "cohort_summary"]))
        (run,) = instance.get_runs()
    assert run.tags[STUDY_TAG] == "tiny"


@pytest.mark.slow
def test_materializations_and_mlflow_runs_point_at_each_other(run_home):
    home, _ = run_home
    tracker = MlflowTracker(tracking_uri=f"sqlite:///{home}/mlflow/mlflow.db")
    client = tracker.prepare()
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = {
        (run.data.tags["subject"], run.data.tags["num_states"]): run
        for run in client.search_runs([experiment], "tags.subject != 'cohort'")
    }
    assert set(runs) == {(s, k) for s in "ad" for k in "12"}
    with instance_of(home) as instance:
        (run,) = instance.get_runs()
        tracking = dg.AssetKey(["tiny", "fit_tracking"])
        records = instance.fetch_materializations(tracking, limit=9).records
    for record in records:
        event = record.asset_materialization
        for k in "12":
            url = event.metadata[f"mlflow_K{k}"].value
            assert runs[event.partition, k].info.run_id in url
            assert runs[event.partition, k].data.tags["dagster_run_id"] == run.run_id
    all_models = {"em_traces", "heldout_bits"}
    shown = {"psychometrics", "session_posteriors", "state_accuracy", "state_dynamics"}
    shown |= {"transition_matrix", "weights"}
    stems = {
        k: {Path(file.path).stem for file in client.list_artifacts(run.info.run_id, "figures")}
        for (subject, k), run in runs.items()
        if subject == "a"
    }
    assert all_models | shown <= stems["2"]
    assert all_models <= stems["1"]
    assert not shown & stems["1"]


@pytest.mark.slow
@pytest.mark.usefixtures("only_fits")
def test_subjects_that_do_not_lie_side_by_side_are_run_without_those_between(call, run_home):
    home, _ = run_home
    code, said = call(home, "run", "tiny", "-s", "b", "-s", "c", "-s", "e")
    assert code == 0, said
    with instance_of(home) as instance:
        assert instance.get_dynamic_partitions("tiny_subjects") == ["a", "d", "b", "c", "e"]
        before = len(instance.get_runs())
    code, said = call(home, "run", "tiny", "-s", "a", "-s", "b")  # d lies between them
    assert code == 0, said
    with instance_of(home) as instance:
        runs = instance.get_runs(limit=2)
        assert len(instance.get_runs()) == before + 2
    ranges = [run.tags["dagster/asset_partition_range_start"] for run in runs]
    assert ranges == ["b", "a"]
    assert "subjects fitted already: 1, to fit: 0" in said
    with instance_of(home) as instance:
        seen = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(["tiny", "raw_sessions"]), asset_partitions=["a"]),
            limit=9,
        ).records
    assert len(seen) == 1  # the content did not change


@pytest.mark.slow
def test_an_unknown_subject_is_told_with_the_nearest(call, run_home):
    code, said = call(run_home[0], "run", "tiny", "--subject", "f")
    assert code == 2
    assert "there are no session files of subject 'f'. There are: a, b, c, d, e." in said


@pytest.mark.slow
@pytest.mark.usefixtures("only_fits")
def test_a_fit_that_is_held_is_told_and_stands_when_it_is_promoted(call, run_home, monkeypatch):
    home, _ = run_home
    log = refit_log(load_study(home / "studies" / "tiny.toml"))
    before = log.champion("d")
    write_subject(home, "d", sessions=5)
    monkeypatch.setattr("glmhmm_core.comparison.succession.reason_to_hold", lambda _: "it is odd")
    code, said = call(home, "run", "tiny", "-s", "d")
    assert code == 0, said
    assert "the new fit of d is held: it is odd. The earlier fit stands" in said
    assert "`glmhmm promote tiny -s d`" in said
    assert log.champion("d") == before
    # Nobody is promoted while one is named of whom nothing is held.
    code, said = call(home, "promote", "tiny", "-s", "d", "-s", "a")
    assert code == 2
    assert "no fit of 'a' is held for review" in said
    assert log.champion("d") == before
    code, said = call(home, "promote", "tiny", "-s", "d")
    assert code == 0, said
    assert "held" not in said
    newest, *_ = log.newest("d")
    assert log.champion("d")[0] == newest != before[0]
    assert log.promotion_of("d", newest) == "promoted by hand"


@pytest.mark.slow
@pytest.mark.usefixtures("only_fits")
def test_a_run_leaves_out_a_bad_subject_and_says_why(call, run_home):
    home, _ = run_home
    file = home / "sessions" / "tiny" / "zoe.csv"
    file.write_text("subject,session,stimulus,choice,feedback\n" + "zoe,one,0.5,maybe,1\n" * 9)
    try:
        code, said = call(home, "run", "tiny", "-s", "a", "-s", "zoe")
    finally:
        file.unlink()
    assert code == 3, said
    assert "zoe is left out: " in said
    assert "tiny: 1 subject has fits" in said


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_mlflow_that_is_away_costs_no_fit(call, run_home, monkeypatch):
    home, _ = run_home
    write_subject(home, "a", sessions=5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    result = CliRunner().invoke(main, ["run", "tiny", "-s", "a"])
    assert result.exit_code == 1
    assert f"fit_tracking: MLflow at {address}: the server does not answer" in result.output
    assert "tiny: 1 subject has fits" in result.output
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    code, said = call(home, "run", "tiny", "-s", "a")
    assert code == 0, said
    assert "subjects fitted already: 1, to fit: 0" in said


@pytest.mark.slow
def test_two_runs_by_hand_do_not_meet(call, run_home):
    home, _ = run_home
    with FileLock(by_hand_lock(home, "tiny")):
        code, said = call(home, "run", "tiny")
    assert code == 2
    assert "study 'tiny': it is being run by hand already" in said


def started(home):
    """Start a run of subject a in a process of its own; give it once Dagster has it started."""
    write_subject(home, "a", sessions=6)
    env = {**os.environ, "DAGSTER_HOME": str(home)}
    code = "from glmhmm_assets.cli import main; main(['run', 'tiny', '-s', 'a'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with instance_of(home) as instance:
        seen = {run.run_id for run in instance.get_runs()}
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
                if run.run_id not in seen:
                    return process, run.run_id
            time.sleep(0.2)
    process.kill()
    raise AssertionError(process.communicate()[0])


@pytest.mark.slow
@pytest.mark.usefixtures("only_fits")
def test_a_killed_run_is_found_dead_and_gone_on_with(call, run_home):
    home, _ = run_home
    process, run_id = started(home)
    with instance_of(home) as instance:
        launcher = instance.run_launcher
        run = instance.get_run_by_id(run_id)
        assert launcher.check_run_worker_health(run).status.value == "RUNNING"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED
        assert launcher.check_run_worker_health(run).status.value == "NOT_FOUND"
        code, said = call(home, "run", "tiny", "-s", "a")
        assert code == 0, said
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE


@pytest.mark.slow
def test_ctrl_c_ends_a_run_and_says_how_to_go_on(run_home):
    home, _ = run_home
    process, run_id = started(home)
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    with instance_of(home) as instance:
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.CANCELED
