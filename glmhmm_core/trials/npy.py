"""Reader of ``.npy`` files that trusts nothing in them: one value per trial, or a named fault.

NumPy's own reader makes an array of the shape that a header claims before it looks at the file,
which ends the process if that is large enough. Here the header has to fit the file first.
"""

import io
import math
import sys
import warnings

import numpy as np
import polars as pl

from glmhmm_core.trials.files import Unreadable

_DAMAGED = "is damaged, or no .npy file: copy it again from its source"


def read_column(data: bytes, name: str) -> pl.Series:
    """Read an array of one value per trial, (T,) or (T, 1), as float64, int64, uint64 or text.

    Raises
    ------
    Unreadable
        It is no such array. Nothing is ever unpickled.
    """
    file = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of files that Python 2 wrote
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(file)
    except Exception as error:  # numpy raises almost anything of a broken header
        raise Unreadable(_DAMAGED) from error
    if dtype.kind not in "biufU":
        kind = "Python objects" if dtype.hasobject else f"values of type {str(dtype)[:40]}"
        raise Unreadable(f"holds {kind}, not numbers or text: write it again")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > len(data) - file.tell():
        raise Unreadable(_DAMAGED)
    if shape not in {(count,), (count, 1)}:
        raise Unreadable(f"has shape {shape}, not one value per trial: write it again")
    if not count:
        return pl.Series(name, [], dtype=pl.String if dtype.kind == "U" else pl.Float64)
    if not dtype.itemsize:
        raise Unreadable(_DAMAGED)
    start = file.tell()
    if dtype.kind == "U":
        return pl.Series(name, _text(data[start : start + count * dtype.itemsize], dtype))
    return pl.Series(name, _plain(np.frombuffer(data, dtype, count, start)))


def _text(data: bytes, dtype: np.dtype) -> list[str]:
    """Decode text of one length; NumPy and polars would take code points that are no characters."""
    order = (
        sys.byteorder if dtype.byteorder == "=" else {"<": "little", ">": "big"}[dtype.byteorder]
    )
    try:
        text = data.decode("utf-32-le" if order == "little" else "utf-32-be")
    except UnicodeDecodeError as error:
        raise Unreadable(_DAMAGED) from error
    length = dtype.itemsize // 4
    return [text[i : i + length].rstrip("\0") for i in range(0, len(text), length)]


def _plain(values: np.ndarray) -> np.ndarray:
    """Bring numbers to one of four types, in the byte order of this machine."""
    if values.dtype.kind == "b":
        return values.view(np.uint8) != 0
    plain = {"f": np.float64, "i": np.int64, "u": np.uint64}[values.dtype.kind]
    with np.errstate(all="ignore"):  # signalling NaNs
        return values.astype(plain)
