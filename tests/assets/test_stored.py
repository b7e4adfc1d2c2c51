"""Stored files that are missing or damaged: that subject's is remade or named, others go on."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from tracked_fits import make_fits

from glmhmm_assets.io_managers import KeepStored, build_io_managers
from glmhmm_assets.resources import refit_log
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.resources.refit_log import RefitLog
from glmhmm_assets.stored import read_stored, read_table
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.tables.refits import refit_table

KINDS = ["tables", "designs", "fits", "hierarchies", "baselines"]


def truncated(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


DAMAGE = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "truncated": truncated,
    "garbage": lambda file: file.write_bytes(b"PAR1" + b"\x00\xff" * 400 + b"PAR1"),
}
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


@damaged
@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_out_its_subject_with_the_reason_and_no_other(tmp_path, kind, damage):
    manager = build_io_managers(tmp_path)[kind]
    for name in ("a", "b"):
        manager.write(Excluded(name, "why"), tmp_path / f"{name}{manager.extension}")
    file = tmp_path / f"b{manager.extension}"
    damage(file)
    context = dg.build_input_context()
    found = manager.load_from_path(context, file)
    assert isinstance(found, Excluded)
    assert found.subject == "b"
    assert str(file) in found.reason
    assert "`glmhmm run STUDY` makes it again" in found.reason
    other = manager.load_from_path(context, tmp_path / f"a{manager.extension}")
    assert other == Excluded("a", "why")


@damaged
def test_what_is_kept_as_it_stands_is_written_where_it_does_not_stand(tmp_path, damage):
    manager, file = build_io_managers(tmp_path)["tables"], tmp_path / "a.parquet"
    manager.write(pl.DataFrame({"x": [1]}), file)
    damage(file)
    kept = KeepStored(Excluded("a", "there are no session files of it"))
    manager.dump_to_path(dg.build_output_context(), kept, file)
    assert read_table(file) == kept.otherwise


@damaged
def test_fits_in_the_store_are_made_again(tmp_path, damage):
    store, fits = FitStore(tmp_path), make_fits("a", "mark")
    store.keep(fits, "mark")
    damage(store.path("a", "mark"))
    assert store.find("a", "mark") is None


@damaged
def test_a_history_of_refits_is_put_aside_and_begins_anew(tmp_path, damage):
    log, fits = RefitLog(tmp_path), make_fits("a", "mark")
    rows = refit_table(fits, "mark", "promoted", datetime.now(UTC))
    log.add(rows)
    damage(tmp_path / "a.parquet")
    log.add(rows)
    assert log.champion("a") == (fits.fingerprint, "mark")
    assert log.read("a").height == rows.height


def test_a_history_that_is_damaged_is_not_lost(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 half of a file")
    RefitLog(tmp_path).read("a")
    assert (tmp_path / "a.damaged").read_bytes() == b"PAR1 half of a file"


def test_memory_that_is_short_is_not_the_file_s_fault(tmp_path):
    (tmp_path / "a").write_text("x")

    def read(_: Path) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        read_stored(tmp_path / "a", read)
    with pytest.raises(InputError, match="a stored file is missing"):
        read_stored(tmp_path / "b", read)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_history_that_cannot_be_read_now_stays_where_it_is(tmp_path, monkeypatch, number):
    (tmp_path / "a.parquet").write_bytes(b"a history")

    def fail(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(refit_log, "read_table", fail)
    with pytest.raises(InputError) as told:
        RefitLog(tmp_path).read("a")
    assert told.value.where == str(tmp_path / "a.parquet")
    assert "damaged" not in told.value.problem
    assert (tmp_path / "a.parquet").read_bytes() == b"a history"
