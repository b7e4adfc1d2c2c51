"""Files of the graph: what goes in comes out, per subject, whole or not at all."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from upath import UPath

from glmhmm_assets.io_managers import DesignFiles, KeepStored, TableFiles, build_io_managers
from glmhmm_assets.partitions import range_tags
from glmhmm_core.design.design import Design
from glmhmm_core.fitting.result import Excluded

SUBJECTS = dg.DynamicPartitionsDefinition(name="subjects")
KEY = ["study", "thing"]
PATH = Path("storage/study/thing")


def table(x: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame({"subject": ["a", "a"], "x": [x, None], "choice": [1, 0]}).with_columns(
        pl.col("choice").cast(pl.Int8)
    )


def design(subject: str = "a") -> Design:
    return Design(
        subject=subject,
        keys=pl.DataFrame({"session": ["s1", "s1", "s2"], "trial": [0, 1, 0]}),
        X=np.arange(6.0).reshape(3, 2),
        y=np.array([0, 1, -1]),
        mask=np.array([True, True, False]),
        feature_names=("stimulus", "bias"),
        choice_names=("left", "right"),
        baseline_class_idx=0,
        prior_scales=np.array([10.0, 3.0]),
    )


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / PATH).iterdir())


def run(tmp_path, values, *, io="tables", subjects=("a", "b"), downstream=(), managers=None):
    """Materialize an asset that gives these values, and what reads it."""

    @dg.asset(key=KEY, partitions_def=SUBJECTS, io_manager_key=io)
    def thing() -> Any:
        return values

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("subjects", ["c", "b", "a"])
        return dg.materialize(
            [thing, *downstream],
            instance=instance,
            resources=managers or build_io_managers(tmp_path),
            tags=range_tags(["c", "b", "a"], subjects),
        )


def reader(seen: dict, **more):
    """An asset that notes what it is given."""
    more = {"ins": {"given": dg.AssetIn(key=KEY, **more.pop("given", {}))}, **more}

    @dg.asset(name="reader", **more)
    def read(given: dict) -> None:
        seen.update(given)
        seen["order"] = list(given)

    return read


def test_a_range_is_written_and_read_by_subject(tmp_path):
    seen: dict = {}
    values = {"b": table(2), "a": table(1)}
    run(tmp_path, values, downstream=[reader(seen, partitions_def=SUBJECTS)])
    assert seen["order"] == ["a", "b"]  # sorted, whatever Dagster's order
    assert_frame_equal(seen["a"], table(1))
    assert_frame_equal(seen["b"], table(2))
    assert files(tmp_path) == ["a.parquet", "b.parquet"]


def test_a_partition_that_is_no_name_stays_in_its_folder(tmp_path):
    outside = "../../../../outside"
    seen: dict = {}

    @dg.asset(key=KEY, partitions_def=SUBJECTS, io_manager_key="tables")
    def thing() -> dict:
        return {outside: table()}

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("subjects", [outside])
        dg.materialize(
            [thing, reader(seen, partitions_def=SUBJECTS)],
            instance=instance,
            resources=build_io_managers(tmp_path / "home"),
            tags=range_tags([outside], [outside]),
        )
    assert_frame_equal(seen[outside], table())
    assert len(files(tmp_path / "home")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_one_subject_is_a_dictionary_too(tmp_path):
    seen: dict = {}
    run(
        tmp_path,
        {"b": table()},
        subjects=["b"],
        downstream=[reader(seen, partitions_def=SUBJECTS)],
    )
    assert seen["order"] == ["b"]


def test_an_unpartitioned_reader_gets_those_that_are_there(tmp_path):
    seen: dict = {}
    lenient = {"metadata": {"allow_missing_partitions": True}}
    values = {"b": table()}
    run(tmp_path, values, subjects=["b"], downstream=[reader(seen, given=lenient)])
    assert seen["order"] == ["b"]


def test_a_missing_file_leaves_out_its_subject_unless_the_reader_allows_it(tmp_path):
    seen: dict = {}
    run(tmp_path, {"b": table()}, subjects=["b"], downstream=[reader(seen)])
    assert "a.parquet: a stored file is missing" in seen["a"].reason
    assert_frame_equal(seen["b"], table())


def test_an_unpartitioned_value_goes_through_as_it_is(tmp_path):
    seen = {}

    @dg.asset(key=KEY, io_manager_key="tables")
    def thing() -> pl.DataFrame:
        return table()

    @dg.asset(ins={"given": dg.AssetIn(key=KEY)})
    def reader(given: pl.DataFrame) -> None:
        seen["given"] = given

    with dg.DagsterInstance.ephemeral() as instance:
        resources = build_io_managers(tmp_path)
        dg.materialize([thing, reader], instance=instance, resources=resources)
    assert_frame_equal(seen["given"], table())


def test_a_reason_travels_in_a_tables_place(tmp_path):
    seen: dict = {}
    gone = Excluded("a", "too few sessions (3 of 30) – »why«")
    values = {"a": gone, "b": table()}
    run(tmp_path, values, downstream=[reader(seen, partitions_def=SUBJECTS)])
    assert seen["a"] == gone
    assert_frame_equal(seen["b"], table())


def test_designs_and_reasons_come_back(tmp_path):
    seen: dict = {}
    gone = Excluded("b", "no session is left")
    values = {"a": design(), "b": gone}
    downstream = [reader(seen, partitions_def=SUBJECTS)]
    run(tmp_path, values, io="designs", downstream=downstream)
    assert seen["b"] == gone
    back = seen["a"]
    assert_frame_equal(back.keys, design().keys)
    np.testing.assert_array_equal(back.X, design().X)
    np.testing.assert_array_equal(back.y, design().y)
    assert back.feature_names == ("stimulus", "bias")
    assert files(tmp_path) == ["a.npz", "b.npz"]


def test_nothing_in_a_file_is_a_pickle(tmp_path):
    run(tmp_path, {"a": design(), "b": Excluded("b", "r")}, io="designs")
    for name in ("a", "b"):
        with np.load(tmp_path / PATH / f"{name}.npz", allow_pickle=False) as stored:
            assert all(stored[key].dtype != object for key in stored.files)


@pytest.mark.parametrize("values", [{"a": table()}, {"a": 1, "b": 2, "c": 3}, table(), None])
def test_values_that_do_not_match_the_run_are_refused(tmp_path, values):
    with pytest.raises(dg.DagsterInvariantViolationError, match=r"study/thing.*\['a', 'b'\]"):
        run(tmp_path, values)
    assert not (tmp_path / PATH).exists()


def test_keeping_leaves_the_file_that_is_there(tmp_path):
    run(tmp_path, {"a": table(1), "b": table(1)})
    before = (tmp_path / PATH / "a.parquet").read_bytes()
    run(tmp_path, {"a": KeepStored(table(2)), "b": table(2)})
    assert (tmp_path / PATH / "a.parquet").read_bytes() == before
    assert_frame_equal(pl.read_parquet(tmp_path / PATH / "b.parquet"), table(2))


def test_keeping_where_nothing_is_writes_the_other_value(tmp_path):
    run(tmp_path, {"a": KeepStored(table(2)), "b": KeepStored(Excluded("b", "r"))})
    assert_frame_equal(pl.read_parquet(tmp_path / PATH / "a.parquet"), table(2))
    assert TableFiles(UPath(tmp_path)).read(tmp_path / PATH / "b.parquet") == Excluded("b", "r")


class Broken(TableFiles):
    """Writes half a file, as a process killed at that moment would."""

    def write(self, value, path):
        assert value is not None
        path.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path):
    run(tmp_path, {"a": table(1), "b": table(1)})
    managers = build_io_managers(tmp_path) | {"tables": Broken(UPath(tmp_path / "storage"))}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"a": table(2), "b": table(2)}, managers=managers)
    assert_frame_equal(pl.read_parquet(tmp_path / PATH / "a.parquet"), table(1))
    assert files(tmp_path) == ["a.parquet", "b.parquet"]


def test_names_with_dots_and_letters_of_any_script_are_files(tmp_path):
    manager = DesignFiles(UPath(tmp_path))
    for name in ("c.d", "ünï ß", "マウス-1"):
        path = tmp_path / f"{name}.npz"
        manager.write(design(name), path)
        assert manager.read(path).subject == name


@pytest.mark.parametrize(("io", "value"), [("tables", table()), ("designs", design())])
def test_a_file_that_would_be_the_same_keeps_its_time(tmp_path, io, value):
    run(tmp_path, {"a": value}, io=io, subjects=("a",))
    (file,) = (tmp_path / PATH).iterdir()
    before = file.stat().st_mtime_ns, file.stat().st_ino
    run(tmp_path, {"a": value}, io=io, subjects=("a",))
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    assert files(tmp_path) == [file.name]


def test_a_file_of_another_value_is_replaced(tmp_path):
    run(tmp_path, {"a": table()}, subjects=("a",))
    run(tmp_path, {"a": table(2.0)}, subjects=("a",))
    (file,) = (tmp_path / PATH).iterdir()
    assert_frame_equal(pl.read_parquet(file), table(2.0))
