"""Sessions of two kinds beside the plain GLM-HMM: ``python -m benchmarks.session_kinds FOLDER``.

Mice whose session folders lie in ``FOLDER``; three states from the pooled fit, sigma and alpha 2.
For each: the held-out gain over the plain fit on the same folds, and what both simulate of the
switches between decoded states, beside the data.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.optima import recorded
from benchmarks.subjects import Subject, pooled
from benchmarks.table import print_table, say
from glmhmm_core.baselines.session_kinds import fit_session_kinds, gain_over
from glmhmm_core.comparison.predictive_checks import predictive_checks
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import fit_glmhmm
from glmhmm_core.simulation.population import FEATURE_NAMES

NUM_STATES = 3
SHOWN = ("share_switching", "switches_per_session", "switches_variance")


def row(mouse: Subject, start: Parameters, num_simulations: int) -> list[float]:
    """Gain, and data and simulation of both models for each statistic."""
    plain = fit_glmhmm(
        *(mouse.y, mouse.X, mouse.session_ids),
        mask=mouse.y >= 0,
        num_states=NUM_STATES,
        num_classes=2,
        warm_start=start,
        n_restarts=0,
        cv_folds=5,
    )
    kinds = fit_session_kinds(plain)
    columns = [FEATURE_NAMES.index(kind) for kind in ("previous_choice", "wsls")]
    side = mouse.X[:, FEATURE_NAMES.index("stimulus")]
    chance = np.random.default_rng(0).random(len(side)) < 0.5
    given: dict[str, Any] = {
        "history": {"previous_choice": columns[:1], "wsls": columns[1:]},
        "rewarded": np.where(side == 0, chance, side > 0).astype(np.int64),
        "num_simulations": num_simulations,
    }
    gain, _ = gain_over(plain, kinds)
    values = [float("nan") if gain is None else gain]
    for params in (None, kinds.fitted_params):
        table = predictive_checks(plain, kinds=params, **given)
        for statistic in SHOWN:
            one = table.filter(pl.col("statistic") == statistic).row(0, named=True)
            values += [one["data"], one["simulated"]]
    return values


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="three mice, fewer simulations")
    args = parser.parse_args()
    mice = recorded(args.folder)[: 3 if args.quick else None]
    everyone = pooled(mice)
    start = fit_glmhmm(
        *(everyone.y, everyone.X, everyone.session_ids),
        mask=everyone.y >= 0,
        num_states=NUM_STATES,
        num_classes=2,
        emission_prior_scale=100.0,
        transition_concentration=1.0,
        n_restarts=8,
    ).fitted_params
    rows = []
    for mouse in mice:
        rows.append(row(mouse, start, 40 if args.quick else 200))
        say(f"{mouse.name}: {rows[-1][0]:+.4f} bits per trial")
    values = np.array(rows)
    lines = [
        [mouse.name, f"{v[0]:+.4f}", *(f"{a:.3g} / {b:.3g}" for a, b in v[1:].reshape(-1, 2))]
        for mouse, v in zip(mice, values, strict=True)
    ]
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(mice))
    lines.append(
        ["mean", f"{mean[0]:+.4f}", *(f"{a:.3g} / {b:.3g}" for a, b in mean[1:].reshape(-1, 2))]
    )
    print_table(
        "Sessions of two kinds over the plain GLM-HMM; data / simulated",
        [
            "mouse",
            "held-out gain",
            *(f"plain: {s}" for s in SHOWN),
            *(f"kinds: {s}" for s in SHOWN),
        ],
        lines,
        [
            f"The gain is {mean[0]:.4f} bits per trial, standard error over mice {error[0]:.4f}; "
            f"{int((values[:, 0] > 0).sum())} of {len(mice)} mice gain."
        ],
    )


if __name__ == "__main__":
    main()
