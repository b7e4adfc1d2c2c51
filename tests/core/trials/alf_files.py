"""ALF session folders for tests: random trials as the IBL codes them, and their files."""

from pathlib import Path

import numpy as np
import polars as pl

UUID = "01234567-89ab-cdef-0123-456789abcdef"

Columns = dict[str, np.ndarray]


def ibl_columns(n_trials: int = 30, seed: int = 0) -> Columns:
    """Columns of one session, blocks .5, .2 and .8 in thirds, one trial in ten without a choice."""
    rng = np.random.default_rng(seed)
    contrast = rng.choice([0, 0.0625, 0.125, 0.25, 1], n_trials)
    is_right = rng.random(n_trials) < 0.5
    start = np.cumsum(rng.uniform(3, 5, n_trials))
    return {
        "choice": rng.choice([1, -1, 0], n_trials, p=[0.45, 0.45, 0.1]),
        "contrastLeft": np.where(is_right, np.nan, contrast),
        "contrastRight": np.where(is_right, contrast, np.nan),
        "feedbackType": rng.choice([1, -1], n_trials),
        "probabilityLeft": np.repeat([0.5, 0.2, 0.8], -(-n_trials // 3))[:n_trials],
        "stimOn_times": start,
        "goCue_times": start + 0.1,
        "response_times": start + 0.9,
        "feedback_times": start + 1.0,
    }


def alf_folder(root: Path, subject: str, session: str, lab: str = "lab") -> Path:
    date, number = session.split("_")
    folder = root / lab / "Subjects" / subject / date / number / "alf"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_npy(folder: Path, columns: Columns, uuid: bool = False) -> None:
    for name, values in columns.items():
        stem = f"_ibl_trials.{name}" + (f".{UUID}" if uuid else "")
        np.save(folder / f"{stem}.npy", values)


def write_table(folder: Path, columns: Columns, uuid: bool = False) -> None:
    stem = "_ibl_trials.table" + (f".{UUID}" if uuid else "")
    pl.DataFrame(columns).write_parquet(folder / f"{stem}.pqt")


def write_session(
    root: Path, subject: str, session: str, seed: int = 0, n_trials: int = 30
) -> Columns:
    columns = ibl_columns(n_trials, seed)
    write_npy(alf_folder(root, subject, session), columns)
    return columns
