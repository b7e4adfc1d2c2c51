"""Which names a subject may have: a name is a file name, a partition and a key at once."""

import re
import unicodedata

from glmhmm_core.errors import InputError
from glmhmm_core.trials.values import MISSING

#: A letter (with its marks), digit, ``_`` or ``-``; between two of them also one dot or spaces.
_SHAPE = re.compile(r"x+(?:(?:\.| +)x+)*")
_MOST_BYTES = 200  # file systems allow 255, and suffixes are added


def check_subject_name(name: str) -> None:
    """Refuse a name that could leave its folder or break a partition range.

    Allowed are letters of any script, digits, ``_``, ``-``, inner spaces and inner single dots.

    Raises
    ------
    InputError
        For any other name.
    """
    if name.lower() in MISSING:
        raise InputError(
            "it stands for a missing value",
            where=f"subject {name!r}",
            remedy="Give the subject a name.",
        )
    shape = "".join("x" if _is_plain(char) else char for char in name)
    if not _SHAPE.fullmatch(shape) or unicodedata.category(name[0]).startswith("M"):
        raise InputError(
            "not a usable subject name",
            where=f"subject {name!r}",
            remedy="Rename it with letters, digits, inner spaces, '_', '-' and single dots.",
        )
    if len(name.encode()) > _MOST_BYTES:
        raise InputError(
            f"a subject name of {len(name.encode())} bytes",
            where=f"subject {name[:30]!r}...",
            remedy=f"Use at most {_MOST_BYTES} bytes.",
        )


def name_key(name: str) -> str:
    """Key under which two names are the same for a file system that ignores case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_plain(char: str) -> bool:
    category = unicodedata.category(char)
    return char in "_-" or category[0] in "LM" or category == "Nd"
