"""Designs as files: one npz without pickles, written whole or not at all."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.whole_file import beside

_TEXT = ("subject", "feature_names", "transition_names", "choice_names", "baseline_class_idx")


def save_design(path: Path, design: Design) -> None:
    """Write a design; the file appears only when it is complete."""
    text = {name: getattr(design, name) for name in _TEXT}
    data = io.BytesIO()
    np.savez_compressed(
        data,
        X=design.X,
        y=design.y,
        mask=design.mask,
        prior_scales=design.prior_scales,
        U=design.U,
        transition_scales=design.transition_scales,
        session=design.keys["session"].to_numpy().astype(np.str_),
        trial=design.keys["trial"].to_numpy(),
        text=np.array(json.dumps(text)),
    )
    with beside(path) as place:
        place.write_bytes(data.getvalue())


def load_design(path: Path) -> Design:
    """Read a design that ``save_design`` wrote.

    Raises
    ------
    InputError
        The file is missing or is no such design.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            text = json.loads(str(stored["text"]))
            keys = {"session": stored["session"].tolist(), "trial": stored["trial"]}
            return Design(
                subject=text["subject"],
                keys=pl.DataFrame(keys, schema={"session": pl.String, "trial": pl.Int64}),
                X=stored["X"],
                y=stored["y"],
                mask=stored["mask"],
                feature_names=tuple(text["feature_names"]),
                choice_names=tuple(text["choice_names"]),
                baseline_class_idx=text["baseline_class_idx"],
                prior_scales=stored["prior_scales"],
                transition_names=tuple(text["transition_names"]),
                U=stored["U"],
                transition_scales=stored["transition_scales"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"no readable design ({error})", where=str(path), remedy="Materialize it again."
        ) from error
