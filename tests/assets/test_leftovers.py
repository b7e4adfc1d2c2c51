"""Leftovers of killed commands in a home, which the next command clears."""

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from filelock import FileLock

from glmhmm_assets import leftovers
from glmhmm_assets.launcher import BY_HAND_TAG, by_hand_lock
from glmhmm_assets.leftovers import clear
from glmhmm_assets.partitions import STUDY_TAG

Status = dg.DagsterRunStatus
BY_HAND = {BY_HAND_TAG: "yes", STUDY_TAG: "tiny"}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def status_after(home: Path, instance: dg.DagsterInstance, status: Status, **tags: str) -> Status:
    run = create_run_for_test(instance, "job", status=status, tags=tags)
    clear(home, instance)
    return instance.get_run_by_id(run.run_id).status


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTING, Status.STARTED])
def test_runs_by_hand_of_killed_processes_are_marked_failed(tmp_path, instance, status):
    assert status_after(tmp_path, instance, status, **BY_HAND) is Status.FAILURE


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTED])
def test_a_run_by_hand_that_goes_on_is_left_alone(tmp_path, instance, status):
    with FileLock(by_hand_lock(tmp_path, "tiny")):
        assert status_after(tmp_path, instance, status, **BY_HAND) is status


@pytest.mark.parametrize("status", [Status.STARTING, Status.STARTED])
def test_runs_of_the_daemon_are_its_own_business(tmp_path, instance, monkeypatch, status):
    monkeypatch.setattr(leftovers, "NEVER_STARTED_SECONDS", -1)
    assert status_after(tmp_path, instance, status) is status


def test_a_run_that_was_never_queued_is_marked_failed_after_a_while(
    tmp_path, instance, monkeypatch
):
    assert status_after(tmp_path, instance, Status.NOT_STARTED) is Status.NOT_STARTED
    monkeypatch.setattr(leftovers, "NEVER_STARTED_SECONDS", -1)
    assert status_after(tmp_path, instance, Status.NOT_STARTED) is Status.FAILURE


def test_half_files_of_killed_processes_are_removed(tmp_path, instance):
    gone = 2**22 + 1  # above the largest process id of Linux
    file = tmp_path / "storage" / "tiny" / f".{gone}-{'0' * 32}.part.npz"
    mine = tmp_path / "storage" / "tiny" / f".{os.getpid()}-{'0' * 32}.part.npz"
    file.parent.mkdir(parents=True)
    file.touch()
    mine.touch()
    clear(tmp_path, instance)
    assert not file.exists()
    assert mine.exists()
