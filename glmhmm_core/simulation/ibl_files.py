"""A simulated cohort written to disk the way the International Brain Laboratory does.

One folder a session, ``<lab>/Subjects/<subject>/<date>/<number>/alf/``, one ``.npy`` file a
column; beside the lab's folder the truth, which no reader of sessions looks at.
"""

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.simulation.ibl_cohort import CHOICE_NAMES, SimulatedMouse
from glmhmm_core.simulation.population import FEATURE_NAMES, STATE_NAMES

LAB = "simulated"
TRUTH_FILE, STATES_FILE = "truth.json", "truth_states.parquet"


def write_ibl_cohort(root: Path, mice: Sequence[SimulatedMouse]) -> None:
    """Write mice as ALF session folders, with ``truth.json`` and ``truth_states.parquet``.

    ``truth.json`` holds the names of choices, regressors and states and each mouse's
    parameters; ``truth_states.parquet`` the true state of every trial, keyed by subject,
    session (``<date>_<number>``) and trial. The folder appears whole or not at all.

    Parameters
    ----------
    root
        Folder to make.
    mice
        What :func:`~glmhmm_core.simulation.ibl_cohort.simulate_ibl_cohort` gave.

    Raises
    ------
    InputError
        If there is something at ``root`` already.
    """
    root = Path(root)
    if root.exists():
        raise InputError(
            "there is something here already",
            where=str(root),
            remedy="Remove it, or name another folder.",
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    part = root.with_name(f".{root.name}.{uuid.uuid4().hex}")
    try:
        for mouse in mice:
            _write_mouse(part / LAB / "Subjects" / mouse.subject, mouse)
        (part / TRUTH_FILE).write_text(json.dumps(_truth(mice), indent=1) + "\n")
        pl.concat([_states(mouse) for mouse in mice]).write_parquet(part / STATES_FILE)
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_mouse(folder: Path, mouse: SimulatedMouse) -> None:
    columns = _columns(mouse)
    for session in dict.fromkeys(mouse.session_ids.tolist()):
        rows = mouse.session_ids == session
        alf = folder.joinpath(*session.split("_"), "alf")
        alf.mkdir(parents=True)
        for name, values in columns.items():
            np.save(alf / f"_ibl_trials.{name}.npy", values[rows])


def _columns(mouse: SimulatedMouse) -> dict[str, np.ndarray]:
    """Code the trials as the laboratory does: choice +1 left, -1 right, 0 none."""
    stimuli = mouse.stimuli
    return {
        "choice": np.select([mouse.y == 0, mouse.y == 1], [1, -1], 0),
        "contrastLeft": np.where(stimuli.right, np.nan, stimuli.contrast),
        "contrastRight": np.where(stimuli.right, stimuli.contrast, np.nan),
        "feedbackType": mouse.feedback.astype(np.int64),
        "probabilityLeft": stimuli.probability_left,
        "stimOn_times": mouse.onset,
        "goCue_times": mouse.onset,
        "response_times": mouse.response,
        "feedback_times": mouse.response,
    }


def _truth(mice: Sequence[SimulatedMouse]) -> dict[str, object]:
    return {
        "choice_names": CHOICE_NAMES,
        "baseline_class_idx": 0,
        "feature_names": FEATURE_NAMES,
        "state_names": STATE_NAMES,
        "subjects": {
            mouse.subject: {
                "initial_probs": np.asarray(mouse.params.initial_probs).tolist(),
                "transition_matrix": np.asarray(mouse.params.transition_matrix).tolist(),
                "emission_weights": np.asarray(mouse.params.emission_weights).tolist(),
            }
            for mouse in mice
        },
    }


def _states(mouse: SimulatedMouse) -> pl.DataFrame:
    table = pl.DataFrame({"session": mouse.session_ids, "state_idx": mouse.states})
    return table.select(
        pl.lit(mouse.subject).alias("subject"),
        "session",
        pl.int_range(pl.len()).over("session").alias("trial"),
        "state_idx",
    )
