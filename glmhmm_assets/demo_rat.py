"""A real rat for the demo: out of the one pickled file of the psytrack package, into a CSV file.

This is the only place of the project that unpickles anything. It reads one known file, checked by
its SHA-256, with an unpickler that builds NumPy arrays and nothing else.
"""

import hashlib
import importlib.util
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.whole_file import beside, clear_leftovers

#: One rat of Akrami et al. 2018 (Nature 554:368), as psytrack 2.0.2 (MIT) carries it.
FILE = Path("examples") / "sampleRatData.npz"
SHA256 = "3e3ac83f24b873197515f6cedcb1776bdf0969c35457a027392016b6f21dc6ec"

SUBJECT = "W053"


def write_rat(csv: Path) -> pl.DataFrame:
    """Write the rat's 20,000 trials in the columns of the task ``two_afc``, and give them.

    The rat hears two sounds and reports which was louder. The stimulus is the first loudness
    less the second, as psytrack scales them; a choice of 1 is right, correct when it is positive.

    Raises
    ------
    InputError
        If psytrack is not installed, or its file is not the one that is known.
    """
    data = read_numpy_pickle(_psytrack_file())
    days = np.repeat(np.arange(1, len(data["dayLength"]) + 1), data["dayLength"])
    first, second = (data["inputs"][name][:, 0] for name in ("s1", "s2"))
    trials = pl.DataFrame(
        {
            "subject": SUBJECT,
            "session": [f"day_{day:03d}" for day in days],
            "stimulus": np.round(first - second, 6),
            "first": np.round(first, 6),
            "second": np.round(second, 6),
            "choice": data["y"].astype(int) - 1,
            "feedback": data["correct"].astype(int),
        }
    )
    clear_leftovers(csv.parent)
    with beside(csv) as place:
        trials.write_csv(place)
    return trials


def read_numpy_pickle(file: Path, sha256: str = SHA256) -> dict[str, Any]:
    """Read the pickled dictionary of arrays in an ``.npz`` file.

    Raises
    ------
    InputError
        If the file's SHA-256 is not the given one, before anything is read out of it.
    pickle.UnpicklingError
        If the pickle asks for anything but NumPy arrays.
    """
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"its SHA-256 is {found}, not {sha256}",
            where=str(file),
            remedy="Install psytrack again from a source that you trust.",
        )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = io.BytesIO(archive.read("D.npy"))
    np.lib.format.read_magic(member)
    np.lib.format.read_array_header_1_0(member)  # a literal, evaluated as such
    return dict(ArrayUnpickler(member).load().item())


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler to which only the names that a NumPy array is made of exist."""

    def find_class(self, module: str, name: str) -> Any:
        """Give one of the few names, whichever NumPy wrote them; refuse all others."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            module = "numpy multiarray"
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array") from None


def _array(subtype: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    """Stand in for NumPy's reconstructor, which takes any subclass: an empty array to fill."""
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError(f"{subtype} is not an array")
    return np.ndarray(shape, typecode.decode("ascii"))


def _bytes(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which old pickles spell bytes: other codecs do more."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding!r} is not that of bytes")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes,
}


def _psytrack_file() -> Path:
    """Find the file without importing the package."""
    spec = importlib.util.find_spec("psytrack")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the rat's data come with the package psytrack, which is not installed",
            where="demo",
            remedy="Run `make setup`, or `pip install 'psytrack==2.0.2'`.",
        )
    return Path(spec.submodule_search_locations[0]) / FILE
