"""A failed run is told to the program of the study file, whatever that program does."""

import json
import sys
import time

import dagster as dg
import pytest

from glmhmm_assets.notification import LONGEST_MESSAGE, build_failure_sensor, tell
from glmhmm_assets.partitions import STUDY_TAG
from glmhmm_assets.study import NotifyTable


def command(code: str, *more: str, seconds: float = 20.0) -> NotifyTable:
    """A program of a few lines."""
    return NotifyTable(command=(sys.executable, "-c", code, *more), timeout_seconds=seconds)


def test_the_program_gets_the_facts_as_json_and_no_shell_reads_it(tmp_path):
    out = tmp_path / "told"
    code = (
        "import sys, os, json; "
        "json.dump([json.load(sys.stdin), json.loads(os.environ['GLMHMM_FAILURE']), sys.argv[2]], "
        "open(sys.argv[1], 'w'))"
    )
    facts = {"study": "mice", "message": 'two\nlines "quoted" – ü; $(echo no)'}
    tell(command(code, str(out), "$HOME; *"), facts)
    assert json.loads(out.read_text()) == [facts, facts, "$HOME; *"]


def test_a_program_that_hangs_is_ended_with_its_name():
    start = time.monotonic()
    with pytest.raises(dg.Failure, match=r"did not end within 0\.5 s.*\[notify\]"):
        tell(command("import time; time.sleep(60)", seconds=0.5), {})
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        (NotifyTable(command=("/no/such/program",)), "/no/such/program cannot be run"),
        (command("import sys; print('no network'); sys.exit(3)"), "exit code 3: no network"),
        (command("raise SystemExit('broken')"), "exit code 1: broken"),
    ],
)
def test_a_program_that_fails_is_told_with_what_it_said(notify, said):
    with pytest.raises(dg.Failure) as told:
        tell(notify, {})
    assert said in str(told.value.description)
    assert "[notify]" in str(told.value.description)


def test_a_program_that_reads_nothing_is_fine():
    tell(command("pass"), {"message": "x" * 100_000})


@pytest.fixture
def failed(make_home):
    """Give a function that fails a run with these tags and looks at what the sensor tells."""
    home = make_home()
    out = home.folder / "told.json"
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    line = json.dumps([sys.executable, "-c", code, str(out)])
    with home.file.open("a") as file:
        file.write(f"\n[notify]\ncommand = {line}\n")

    def failed(key: tuple[str, ...], tags: dict[str, str], *, canceled: bool = False):
        @dg.asset(key=list(key))
        def broken() -> None:
            raise ValueError("the reason " + "x" * 2 * LONGEST_MESSAGE)

        job = dg.define_asset_job("j").resolve(
            asset_graph=dg.Definitions(assets=[broken]).resolve_asset_graph()
        )
        run = job.execute_in_process(instance=home.instance, tags=tags, raise_on_error=False)
        if canceled:
            home.instance.report_run_canceled(run.dagster_run)
        context = dg.build_run_status_sensor_context(
            sensor_name="tiny_failures",
            dagster_instance=home.instance,
            dagster_run=home.instance.get_run_by_id(run.run_id),
            dagster_event=run.get_run_failure_event()
            if hasattr(run, "get_run_failure_event")
            else next(e for e in run.all_events if e.event_type_value == "PIPELINE_FAILURE"),
        ).for_run_failure()
        build_failure_sensor(home.study)(context)
        return json.loads(out.read_text()) if out.exists() else None

    return failed


def test_a_run_of_the_studys_automation_is_told(failed):
    tags = {
        STUDY_TAG: "tiny",
        "dagster/asset_partition_range_start": "a",
        "dagster/asset_partition_range_end": "c",
    }
    told = failed(("x", "thing"), tags)
    assert told["study"] == "tiny"
    assert told["title"] == "Tiny"
    assert told["failed_steps"] == ["x__thing"]
    assert (told["first_subject"], told["last_subject"]) == ("a", "c")
    assert told["will_retry"] is False
    assert "the reason" in told["message"]
    assert len(told["message"]) <= LONGEST_MESSAGE


def test_a_run_of_another_study_is_not(failed):
    assert failed(("x", "thing"), {STUDY_TAG: "tin"}) is None


def test_a_run_that_a_person_ended_is_not(failed):
    assert failed(("x", "thing"), {STUDY_TAG: "tiny"}, canceled=True) is None
