"""How values of the graph become files: one file per subject, written whole or not at all.

Every per-subject asset hands over and receives a dictionary by subject, whether a run is for one
partition or for a range of them; an unpartitioned asset hands over its value alone. Formats are
Parquet for tables and npz without pickles for arrays.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from upath import UPath

from glmhmm_assets.stored import REASON, SUBJECT, NotWhole, read_arrays, read_stored, read_table
from glmhmm_core.errors import InputError
from glmhmm_core.trials.names import check_subject_name
from glmhmm_core.whole_file import beside


def stem_of(partition: str) -> str:
    """Name of a subject's files; those of a partition that is no subject's name stay in the folder.

    No session file makes such a partition, but whoever opens the pages can add one.
    """
    try:
        check_subject_name(partition)
    except InputError:
        return f"no subject {hashlib.sha256(partition.encode()).hexdigest()}"
    return partition


@dataclass(frozen=True)
class KeepStored:
    """Stands for a subject's value: leave what is stored, or write ``otherwise`` if nothing is."""

    otherwise: Any


class SubjectFiles(dg.UPathIOManager):
    """One file per subject below ``<base>/<study>/<asset>/``; the base of the formats."""

    @abstractmethod
    def write(self, value: Any, path: Path) -> None:
        """Write a value to a file that does not exist yet."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read what ``write`` wrote."""

    def get_path_for_partition(
        self, context: dg.InputContext | dg.OutputContext, path: UPath, partition: str
    ) -> UPath:
        """Give a subject's file."""
        return super().get_path_for_partition(context, path, stem_of(partition))

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        """Write beside the place and move into it: a killed run leaves the old file or the new.

        A file that would be the same stays, with its time.
        """
        del context
        if isinstance(obj, KeepStored):
            if self._is_whole(Path(str(path))):
                return
            obj = obj.otherwise
        with beside(Path(str(path)), unless_same=True) as place:
            self.write(obj, place)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        """Read one file; one that is missing or damaged leaves out its subject, with the reason."""
        from glmhmm_core.fitting.result import Excluded

        file = Path(str(path))
        try:
            return read_stored(file, self.read)
        except InputError as error:
            context.log.warning("%s", error)
            return Excluded(file.stem, str(error))

    def _is_whole(self, file: Path) -> bool:
        try:
            read_stored(file, self.read)
        except NotWhole:
            return False
        return True

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the value of every subject, or the one value of an unpartitioned asset."""
        if not context.has_asset_partitions:
            super().handle_output(context, obj)
            return
        paths = self._get_paths_for_partitions(context)
        if not isinstance(obj, Mapping) or set(obj) != set(paths):
            raise dg.DagsterInvariantViolationError(
                f"{context.asset_key.to_user_string()} must give one value for each of "
                f"{sorted(paths)}"
            )
        folder = self._get_path_without_extension(context)
        self.make_directory(folder)
        for subject in sorted(paths):
            self.dump_to_path(context, obj[subject], paths[subject])
        context.add_output_metadata({"folder": dg.MetadataValue.path(str(folder))})

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the value of every subject, or the one value of an unpartitioned asset.

        The key order is sorted: Dagster hands partitions of an input over as a set. A subject
        without a file is left out where the input says ``allow_missing_partitions``.
        """
        if not context.has_asset_partitions:
            return super().load_input(context)
        paths = self._get_paths_for_partitions(context)
        missing_allowed = (context.definition_metadata or {}).get("allow_missing_partitions", False)
        return {
            subject: self.load_from_path(context, paths[subject])
            for subject in sorted(paths)
            if not missing_allowed or self.path_exists(paths[subject])
        }


class TableFiles(SubjectFiles):
    """Polars tables as Parquet; a subject without one has a table of its name and the reason."""

    extension = ".parquet"

    def write(self, value: Any, path: Path) -> None:
        """Write a table, or why there is none."""
        import polars as pl

        from glmhmm_core.fitting.result import Excluded

        if isinstance(value, Excluded):
            value = pl.DataFrame({SUBJECT: [value.subject], REASON: [value.reason]})
        value.write_parquet(path)

    def read(self, path: Path) -> Any:
        """Read a table, or why there is none."""
        return read_table(path)


class ArrayFiles(SubjectFiles):
    """Arrays as npz; a subject without them has a file of its name and the reason."""

    extension = ".npz"

    def write(self, value: Any, path: Path) -> None:
        """Write the arrays, or why there are none."""
        import numpy as np

        from glmhmm_core.fitting.result import Excluded

        if isinstance(value, Excluded):
            np.savez(path, excluded_subject=value.subject, excluded_reason=value.reason)
        else:
            self.write_value(value, path)

    def read(self, path: Path) -> Any:
        """Read the arrays, or why there are none."""
        return read_arrays(path, self.read_value)

    @abstractmethod
    def write_value(self, value: Any, path: Path) -> None:
        """Write a value of the asset's own type."""

    @abstractmethod
    def read_value(self, path: Path) -> Any:
        """Read a value of the asset's own type."""


class DesignFiles(ArrayFiles):
    """``Design``, or ``Excluded``."""

    def write_value(self, value: Any, path: Path) -> None:
        """Write a design."""
        from glmhmm_core.design.store import save_design

        save_design(path, value)

    def read_value(self, path: Path) -> Any:
        """Read a design."""
        from glmhmm_core.design.store import load_design

        return load_design(path)


class FitFiles(ArrayFiles):
    """``SubjectFits``, or ``Excluded``."""

    def write_value(self, value: Any, path: Path) -> None:
        """Write a subject's fits."""
        from glmhmm_core.fitting.store import save_fits

        save_fits(path, value)

    def read_value(self, path: Path) -> Any:
        """Read a subject's fits."""
        from glmhmm_core.fitting.store import load_fits

        return load_fits(path)


class HierarchyFiles(ArrayFiles):
    """``Hierarchy``, or ``Excluded``."""

    def write_value(self, value: Any, path: Path) -> None:
        """Write a hierarchical fit."""
        from glmhmm_core.fitting.hierarchy_store import save_hierarchy

        save_hierarchy(path, value)

    def read_value(self, path: Path) -> Any:
        """Read a hierarchical fit."""
        from glmhmm_core.fitting.hierarchy_store import load_hierarchy

        return load_hierarchy(path)


class BaselineFiles(ArrayFiles):
    """``SubjectBaselines``, or ``Excluded``."""

    def write_value(self, value: Any, path: Path) -> None:
        """Write a subject's baselines."""
        from glmhmm_core.baselines.store import save_baselines

        save_baselines(path, value)

    def read_value(self, path: Path) -> Any:
        """Read a subject's baselines."""
        from glmhmm_core.baselines.store import load_baselines

        return load_baselines(path)


#: Key of the manager of assets that name none; they store nothing through it.
UNNAMED = "io_manager"


def build_io_managers(home: Path) -> dict[str, SubjectFiles]:
    """Build the IO managers by the keys that assets name, all below ``<home>/storage``."""
    base = UPath(home / "storage")
    return {
        # Dagster's own would take its folder from a run's configuration, and read pickles.
        UNNAMED: TableFiles(base),
        "tables": TableFiles(base),
        "designs": DesignFiles(base),
        "fits": FitFiles(base),
        "hierarchies": HierarchyFiles(base),
        "baselines": BaselineFiles(base),
    }
