"""What MLflow runs of a cohort say: its number of states, and its models side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from glmhmm_assets.resources.logged_model import Findings, LoggedModel, known

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.comparison.selection import SelectionRule

#: The subject that runs of all subjects together are logged under.
COHORT = "cohort"


def logged_choice(
    choice: pl.DataFrame, summary: pl.DataFrame, rule: SelectionRule, figures: Sequence[Path]
) -> LoggedModel:
    """The cohort's number of states, for its run.

    Parameters
    ----------
    choice
        The table of the steps from one number of states to the next.
    summary
        One row per subject and number of states, from which it was made.
    rule
        By which the number was chosen.
    figures
        Picture files of the cohort.
    """
    rows = list(choice.iter_rows(named=True))
    (chosen,) = (row for row in rows if row["chosen"])
    metrics: dict[str, float | None] = {
        "num_states": chosen["num_states"],
        "subjects": chosen["units"],
        "subjects_left_out": summary["subject"].n_unique() - chosen["units"],
        "chosen_share": chosen["chosen_share"],
        "heldout_bits_per_trial": chosen["heldout_bits_per_trial"],
        "at_limit": chosen["next_num_states"] is None,
    }
    for row in rows:
        metrics[f"chosen_share_K{row['num_states']}"] = row["chosen_share"]
        metrics[f"heldout_bits_per_trial_K{row['num_states']}"] = row["heldout_bits_per_trial"]
        if row["next_num_states"] is not None:
            step = f"K{row['num_states']}_to_K{row['next_num_states']}"
            metrics[f"gain_{step}"] = row["next_gain"]
            metrics[f"gain_{step}_se"] = row["next_gain_se"]
    return LoggedModel(
        subject=COHORT,
        model="state_choice",
        num_states=chosen["num_states"],
        fingerprint=hashlib.sha256((choice.write_csv() + repr(rule)).encode()).hexdigest(),
        about=f"The cohort has **{chosen['num_states']} states**. {chosen['why']}",
        asset="state_choice",
        params={name: f"{value:g}" for name, value in asdict(rule).items()},
        metrics=known(metrics),
        tags={"why": chosen["why"]},
        findings=Findings(
            tables={"state_choice": choice, "cohort_summary": summary}, figures=figures
        ),
        of_all=True,
    )


def logged_comparison(table: pl.DataFrame, figures: Sequence[Path]) -> LoggedModel:
    """The cohort's models side by side, for their run.

    Parameters
    ----------
    table
        Means over subjects of every model, with the conclusion.
    figures
        Picture files of it.
    """
    metrics: dict[str, float | None] = {}
    for row in table.iter_rows(named=True):
        name = row["model"] + (f"_K{row['num_states']}" if row["num_states"] > 1 else "")
        numbers = {c: v for c, v in row.items() if c not in ("model", "num_states", "conclusion")}
        metrics |= {f"{column}/{name}": value for column, value in numbers.items()}
    conclusion = table["conclusion"][0]
    return LoggedModel(
        subject=COHORT,
        model="comparison",
        num_states=1,
        fingerprint=hashlib.sha256(table.write_csv().encode()).hexdigest(),
        about=f"The cohort's models side by side. {conclusion}",
        asset="cohort_comparison",
        metrics=known(metrics),
        tags={"conclusion": conclusion},
        findings=Findings(tables={"cohort_comparison": table}, figures=figures),
        of_all=True,
    )
