"""The history of every subject's fits on disk: rows are added, none is changed.

It is also what knows which fits stand: the last that were promoted.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmhmm_assets.stored import NotWhole, read_stored, read_table
from glmhmm_core.whole_file import beside

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefitLog:
    """A Parquet table per subject, ``<folder>/<subject>.parquet``, as ``REFIT_SCHEMA``."""

    folder: Path

    def read(self, subject: str) -> "pl.DataFrame":
        """Give a subject's rows, the oldest first.

        A file that is damaged is put aside under another name, and the history begins anew.
        """
        import polars as pl

        from glmhmm_core.tables.refits import REFIT_SCHEMA

        path = self._path(subject)
        if path.exists():
            try:
                return read_stored(path, _rows)
            except NotWhole as error:
                aside = path.with_suffix(".damaged")
                path.replace(aside)
                _log.warning("%s; it is now %s, and a new history begins", error, aside)
        return pl.DataFrame(schema=REFIT_SCHEMA)

    def add(self, rows: "pl.DataFrame") -> None:
        """Add the rows of one refit, unless the newest are of it and say the same.

        What is written by a run that is then killed is so not written again by the next.
        """
        import polars as pl

        told = ["fingerprint", "promotion"]
        before = self.read(rows["subject"][0])
        if before.select(told).tail(1).equals(rows.select(told).tail(1)):
            return
        path = self._path(rows["subject"][0])
        with beside(path) as place:
            pl.concat([before, rows]).write_parquet(place)

    def champion(self, subject: str) -> tuple[str, str] | None:
        """Give fingerprint and inputs of the fits that were promoted last, if any were."""
        rows = self.read(subject)
        promoted = rows.filter(rows["promotion"].str.starts_with("promoted"))
        return None if promoted.is_empty() else promoted.select("fingerprint", "inputs").row(-1)

    def newest(self, subject: str) -> tuple[str, str, str] | None:
        """Give fingerprint, inputs and promotion of the newest fits, if there are some."""
        rows = self.read(subject).select("fingerprint", "inputs", "promotion")
        return None if rows.is_empty() else rows.row(-1)

    def promotion_of(self, subject: str, fingerprint: str) -> str | None:
        """Give what became of these fits when they were last decided on, None if they never were.

        Once promoted, they are so for good.
        """
        rows = self.read(subject).filter(fingerprint=fingerprint)["promotion"]
        promoted = rows.filter(rows.str.starts_with("promoted"))
        last = (rows if promoted.is_empty() else promoted).tail(1)
        return None if last.is_empty() else last.item()

    def _path(self, subject: str) -> Path:
        return self.folder / f"{subject}.parquet"


def _rows(path: Path) -> "pl.DataFrame":
    """Rows of a whole file of a history; an error if it is something else."""
    import polars as pl

    from glmhmm_core.tables.refits import REFIT_SCHEMA

    table = read_table(path)
    if not isinstance(table, pl.DataFrame) or table.schema != pl.Schema(REFIT_SCHEMA):
        raise ValueError("it is no history of refits")
    return table
