"""Ctrl-C ends a run by hand at whatever moment it comes, and leaves no run that seems at work."""

import signal

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from glmhmm_assets.interrupting import execute

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
#: Places that the job below passes, in order.
PLACES = ["making a resource", "in the first step", "storing first", "loading", "in the last step"]


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as instance:
        yield instance


@pytest.fixture(autouse=True)
def handlers():
    """The handler that a process begins with, whatever other tests have left, and afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def passing():
    """What is called with every place that the job passes, and every event of its run."""
    return [str]


@pytest.fixture(scope="module")
def job(passing):
    class Keeper(dg.IOManager):
        def handle_output(self, context, _):
            passing[0](f"storing {context.asset_key.to_user_string()}")

        def load_input(self, _):
            passing[0]("loading")

    @dg.resource
    def made(_):
        passing[0]("making a resource")

    @dg.asset(required_resource_keys={"made"})
    def first():
        passing[0]("in the first step")

    @dg.asset
    def last(first):  # noqa: ARG001
        passing[0]("in the last step")

    return dg.Definitions(
        [first, last],
        resources={"made": made, "io_manager": Keeper()},
        executor=dg.in_process_executor,
        jobs=[dg.define_asset_job("both")],
    ).resolve_job_def("both")


def executed(job, instance, passing, monkeypatch, moment=None):
    """Execute the job, with an interrupt at a moment; give its record and the places passed."""
    passed = []

    def pass_by(place):
        first_time = place not in passed
        passed.append(place)
        if place == moment and first_time:
            signal.raise_signal(signal.SIGINT)

    handle, create = dg.DagsterInstance.handle_new_event, dg.DagsterInstance.create_run_for_job

    def handle_new_event(instance, entry, **kwargs):
        handle(instance, entry, **kwargs)
        pass_by(entry.dagster_event and entry.dagster_event.event_type_value)

    def create_run_for_job(*args, **kwargs):
        run = create(*args, **kwargs)
        pass_by("created")
        return run

    run_id = make_new_run_id()
    monkeypatch.setattr(dg.DagsterInstance, "handle_new_event", handle_new_event)
    monkeypatch.setattr(dg.DagsterInstance, "create_run_for_job", create_run_for_job)
    passing[0] = pass_by
    try:
        execute(job, instance, run_id, run_config=QUIET)
    finally:
        assert moment is None or moment in passed
        finished = moment in (None, "PIPELINE_SUCCESS")
        ends = dg.DagsterRunStatus.SUCCESS if finished else dg.DagsterRunStatus.CANCELED
        assert instance.get_run_by_id(run_id).status is ends
        assert [p for p in passed if p in PLACES] == PLACES[: passed_before(moment)]


#: Events of a run, and the last place that it still comes to after an interrupt there: Dagster
#: keeps the interrupt until it is safe to raise it.
BETWEEN = {
    "created": None,
    "PIPELINE_START": None,
    "STEP_START": "making a resource",
    "STEP_SUCCESS": "storing first",
    "PIPELINE_SUCCESS": PLACES[-1],
}


def passed_before(moment):
    if moment is None:
        return len(PLACES)
    last = BETWEEN.get(moment, moment)
    return PLACES.index(last) + 1 if last else 0


@pytest.mark.parametrize("moment", [*PLACES, *BETWEEN])
def test_an_interrupt_ends_a_run_whenever_it_comes(job, instance, passing, monkeypatch, moment):
    with pytest.raises(KeyboardInterrupt):
        executed(job, instance, passing, monkeypatch, moment)


def test_a_run_without_an_interrupt_is_told_as_it_went(job, instance, passing, monkeypatch):
    executed(job, instance, passing, monkeypatch)
