"""Faults of the machine, told as one message: a full disk, a folder that cannot be written ...

SQLite, SQLAlchemy, MLflow and Dagster wrap them in errors of their own. What is at fault stands at
the end of the chain.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator

from glmhmm_core.errors import InputError

_SPACE = "Make room there, and give the same command again: what is finished is kept."
_RIGHTS = "Give yourself the right to write there, or let DAGSTER_HOME name another folder."
_DAMAGED = (
    "Move this file away, and give the same command again: it is made anew. Fits and figures lie "
    "in other files and stay."
)

#: Words of SQLite's messages, with the problem and the remedy in ours.
_OF_SQLITE = (
    ("disk is full", "the disk is full", _SPACE),
    ("readonly database", "it cannot be written", _RIGHTS),
    ("unable to open", "it cannot be opened or made", _RIGHTS),
    ("is locked", "another program holds this database", "End that program, or wait for it."),
    ("not a database", "it is not a database, or it is damaged", _DAMAGED),
    ("malformed", "it is damaged", _DAMAGED),
    ("disk I/O error", "the disk cannot be read or written", "Look for a full or failing disk."),
)
_OF_FILES = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("your share of the disk is used up", _SPACE),
    errno.EFBIG: ("no file may grow so large here", "Raise the limit (ulimit -f)."),
    errno.EROFS: ("it cannot be written, since the disk is read-only", _RIGHTS),
    errno.EACCES: ("it cannot be read or written", _RIGHTS),
    errno.EPERM: ("it cannot be read or written", _RIGHTS),
    errno.ENOTDIR: ("a file lies where a folder is needed", "Move that file away."),
    errno.ENAMETOOLONG: ("the name is too long for a file", "Give a shorter one."),
    errno.EIO: ("the disk cannot be read or written", "Look for a failing disk."),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n)."),
    errno.ENFILE: ("too many files are open", "End other programs."),
    errno.ENOMEM: ("there is too little memory", "End other programs."),
}


def explain(error: BaseException, where: str) -> InputError | None:
    """Give the one message of a fault of the machine; None for an error of another kind.

    Parameters
    ----------
    error
        As it was raised, with what it was raised from.
    where
        Place to name if the error does not name a file.
    """
    for one in _chain(error):
        if isinstance(one, sqlite3.Error):
            for said, problem, remedy in _OF_SQLITE:
                if said in str(one):
                    return InputError(problem, where=where, remedy=remedy)
        elif isinstance(one, OSError) and one.errno in _OF_FILES:
            problem, remedy = _OF_FILES[one.errno]
            return InputError(problem, where=str(one.filename or where), remedy=remedy)
    return None


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise faults of the machine in the ``with`` block as the one message.

    Raises
    ------
    InputError
        With the place and the remedy.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (told := explain(error, where)) is None:
            raise
        raise told from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and those that it came from, the innermost last."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__context__, one.__cause__, getattr(one, "orig", None)]
