"""Files that running a study makes: each is read whole, or reported as missing or damaged.

All stores read through here. They then make the value again if they can, or leave out its subject
with the message of the error.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from glmhmm_assets.faults import explain
from glmhmm_core.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.fitting.result import Excluded

T = TypeVar("T")

#: Columns, or arrays, of a file that holds no value but the reason why there is none.
SUBJECT, REASON = "excluded_subject", "excluded_reason"


class NotWhole(InputError):
    """A stored file is missing or damaged; reading it again would not help."""


def read_stored(path: Path, read: Callable[[Path], T]) -> T:
    """Read a file that an earlier run wrote.

    Raises
    ------
    NotWhole
        It is missing or damaged.
    InputError
        It cannot be read now: a fault of the machine, which says nothing of the file.
    """
    from polars.exceptions import PanicException  # no Exception: nothing else would catch it

    try:
        if not path.is_file():
            raise FileNotFoundError
        if not path.stat().st_size:
            raise EOFError("it is empty")
        return read(path)
    except MemoryError:
        raise  # not the file's fault
    # A damaged file raises whatever zip, zlib, NumPy, polars or JSON raise.
    except (Exception, PanicException) as error:
        if (fault := explain(error, str(path))) is not None:
            raise fault from error
        said = error.problem if isinstance(error, InputError) else error
        missing = isinstance(error, FileNotFoundError)
        raise NotWhole(
            "a stored file is missing" if missing else f"a stored file is damaged ({said})",
            where=str(path),
            remedy="`glmhmm run STUDY` makes it again, and so does materializing its asset.",
        ) from error


def read_table(path: Path) -> "pl.DataFrame | Excluded":
    """Read a table, or why there is none."""
    import polars as pl

    from glmhmm_core.fitting.result import Excluded

    with path.open("rb") as file:
        ends = file.read(4), file.seek(-4, 2) and file.read(4)
    if ends != (b"PAR1", b"PAR1"):  # seen before polars does, which can panic
        raise ValueError("it is no whole Parquet file")
    table = pl.read_parquet(path)
    return Excluded(*table.row(0)) if table.columns == [SUBJECT, REASON] else table


def read_arrays(path: Path, load: Callable[[Path], Any]) -> Any:
    """Read arrays with ``load``, or why there are none."""
    import numpy as np

    from glmhmm_core.fitting.result import Excluded

    with np.load(path, allow_pickle=False) as stored:
        if REASON in stored.files:
            return Excluded(str(stored[SUBJECT]), str(stored[REASON]))
    return load(path)
