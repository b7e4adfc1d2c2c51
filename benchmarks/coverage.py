"""Do 95 % intervals hold the truth: simulated subjects, fitted and asked.

``python -m benchmarks.coverage [--quick] [--subjects N] [--sessions S] [--concentration A]``.
Subjects of 56 sessions of 90 trials are simulated around the textbook mouse and fitted with wide
priors: weights within 100, transitions flat. Fits start from the truth, and so end in its
optimum: what is asked is whether intervals from the curvature are as wide as they should be.

A Dirichlet of concentration 2, the ordinary default of fits, adds one count to every transition:
intervals of transitions that are made once or twice a subject then lie too high.
"""

import argparse
import time

import numpy as np
import polars as pl

from benchmarks.table import print_table, say
from glmhmm_core.fitting.fit import fit_glmhmm
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.simulation.ibl_cohort import simulate_ibl_cohort
from glmhmm_core.simulation.population import FEATURE_NAMES, STATE_NAMES

#: Wide beside any weight of these mice, so that the prior does not shrink the largest.
WIDE = 100.0


def covered(num_subjects: int, num_sessions: int, concentration: float) -> pl.DataFrame:
    """One row per subject and parameter: truth, estimate, standard error, whether it is held."""
    parts = []
    mice = simulate_ibl_cohort(num_subjects, sessions=[num_sessions], trials=90)
    for number, mouse in enumerate(mice):
        begin = time.perf_counter()
        fit = fit_glmhmm(
            mouse.y,
            mouse.X,
            mouse.session_ids,
            num_states=3,
            num_classes=2,
            mask=mouse.y >= 0,
            emission_names=FEATURE_NAMES,
            warm_start=mouse.params,
            n_restarts=0,
            emission_prior_scale=WIDE,
            transition_concentration=concentration,
        )
        fitted = time.perf_counter()
        known = standard_errors(fit)
        asked = time.perf_counter()
        truth = free_parameters(fit).values(mouse.params)
        parts.append(
            known.table.with_columns(
                subject=pl.lit(mouse.subject),
                truth=pl.Series(truth),
                held=pl.lit(pl.Series(truth)).is_between("lower", "upper"),
                converged=pl.lit(fit.converged),
                near_singular=pl.lit(known.near_singular),
                seconds=pl.lit(asked - fitted),
            )
        )
        if (number + 1) % 20 == 0:
            say(f"{number + 1} of {num_subjects}: {asked - begin:.1f} s for the last")
    return pl.concat(parts)


def main() -> None:
    """Print one table: coverage of each parameter, and of all of a kind together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the subjects")
    parser.add_argument("--subjects", type=int)
    parser.add_argument("--sessions", type=int, default=56)
    parser.add_argument("--concentration", type=float, default=1.0, help="of the transitions")
    args = parser.parse_args()
    subjects = args.subjects or (20 if args.quick else 200)
    rows = covered(subjects, args.sessions, args.concentration)
    good = rows.filter("converged", ~pl.col("near_singular"))
    subject_rows = rows.group_by("subject").first()
    seconds = subject_rows["seconds"].to_numpy()
    summary = [
        *_summaries(good, ["parameter"]),
        *_summaries(good.filter(parameter="weight"), ["parameter", "state_idx", "feature"]),
        *_summaries(good.filter(parameter="transition"), ["parameter", "state_idx", "target_idx"]),
    ]
    print_table(
        f"Coverage of 95 % intervals over {subjects} subjects of {args.sessions} x 90 trials",
        [
            "parameter",
            "intervals",
            "unknown",
            "covered",
            "± 2 SE",
            "RMS of error / SE",
            "bias / SE",
        ],
        summary,
        [
            f"{int(subject_rows['converged'].sum())} of {subjects} fits converged, "
            f"{int(subject_rows['near_singular'].sum())} are near-singular; "
            "those that are not in order are left out.",
            "Unknown: the curvature says nothing, as where a transition was never made.",
            f"Standard errors take {np.median(seconds):.3f} s a subject "
            f"(first, compiled within: {seconds.max():.1f} s).",
        ],
    )


def _summaries(rows: pl.DataFrame, by: list[str]) -> list[list[str]]:
    lines = []
    for key, part in rows.group_by(by, maintain_order=True):
        known = part.drop_nulls("se")
        if known.is_empty():
            continue
        z = ((known["estimate"] - known["truth"]) / known["se"]).to_numpy()
        share = float(known["held"].cast(pl.Float64).to_numpy().mean())
        spread = 2 * float(np.sqrt(share * (1 - share) / len(z)))
        lines.append(
            [
                _title(by, key),
                str(len(z)),
                str(part.height - known.height),
                f"{share:.3f}",
                f"{spread:.3f}",
                f"{np.sqrt((z**2).mean()):.2f}",
                f"{z.mean():+.2f}",
            ]
        )
    return lines


def _title(by: list[str], key: tuple) -> str:
    if len(key) == 1:
        return f"all: {key[0]}"
    state = STATE_NAMES[int(key[1])]
    if by[2] == "target_idx":
        return f"{state} to {STATE_NAMES[int(key[2])]}"
    return f"{state}: {key[2]!s}"


if __name__ == "__main__":
    main()
