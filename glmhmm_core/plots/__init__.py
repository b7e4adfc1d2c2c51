"""Figures out of tables: one file per family, matplotlib figures without pyplot, no computing."""

import contextlib
import os


def _load_matplotlib() -> None:
    """Import matplotlib whatever MPLBACKEND says: it refuses to be imported with an unknown one.

    A notebook's kernel hands that variable on to the commands that it starts. Figures here are
    drawn into files and need no backend.
    """
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = named


_load_matplotlib()
