"""How surely a few restarts find the best optimum: ``python -m benchmarks.optima [FOLDER]``.

The trials of several mice as one, K = 2..5, with the weak priors of a reference analysis's pooled
stage. Every seed makes a fit of its own restarts; the best objective that any fit of any seed
reaches is the best known. Climbs are also counted one by one: how often a single start gets there.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.subjects import Subject, cohort, pooled
from benchmarks.table import print_table, say, seconds
from glmhmm_core.fitting import fit_glmhmm

NUM_STATES = (2, 3, 4, 5)
SEEDS, RESTARTS = 20, 8
#: Nats by which two objectives of the same optimum may differ, per thousand trials.
NEAR_PER_THOUSAND = 1e-3


def recorded(folder: Path) -> list[Subject]:
    """Mice whose session folders lie in ``folder``, by the built-in task's rules."""
    from glmhmm_core.design.build import build_design
    from glmhmm_core.tasks.load import load_task
    from glmhmm_core.trials.cleaning import clean
    from glmhmm_core.trials.readers import read_subject

    task = load_task("ibl_2afc")
    mice = []
    for name in sorted(path.name for path in folder.glob("*/Subjects/*")):
        trials, _ = clean(read_subject(folder, "alf", task, name)[0], task)
        if len(trials):
            design = build_design(trials, task)
            y = np.where(design.mask, design.y, -1)
            mice.append(Subject(name, design.X, y, design.session_ids))
    return mice


def row(everyone: Subject, num_states: int, num_seeds: int) -> list[str]:
    """Line of the table for one number of states."""
    say(f"K = {num_states} ...")
    begin = time.perf_counter()
    objectives = np.array(
        [
            fit_glmhmm(
                everyone.y,
                everyone.X,
                everyone.session_ids,
                mask=everyone.y >= 0,
                num_states=num_states,
                num_classes=2,
                emission_prior_scale=100.0,
                transition_concentration=1.0,
                n_restarts=RESTARTS,
                seed=seed,
            ).restart_objectives
            for seed in range(num_seeds)
        ]
    )
    took = time.perf_counter() - begin
    best = objectives.max()
    reached = objectives >= best - NEAR_PER_THOUSAND * len(everyone.y) / 1000
    return [
        f"K = {num_states}",
        f"{best:.2f}",
        f"{reached.any(1).sum()} of {num_seeds}",
        f"{reached.mean():.2f}",
        f"{best - objectives.max(1).min():.2f}",
        seconds(took / num_seeds),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="ALF session folders of real mice; else simulated"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    mice = recorded(args.folder) if args.folder else cohort(7)
    everyone = pooled(mice)
    print_table(
        f"{len(mice)} {'real' if args.folder else 'simulated'} mice pooled, "
        f"{len(everyone.y):,} trials, {RESTARTS} restarts a fit",
        ["", "best known", "seeds that find it", "single starts", "worst fit short", "a fit takes"],
        [row(everyone, k, args.seeds) for k in NUM_STATES],
        [f"Found: within {NEAR_PER_THOUSAND:g} nats per thousand trials of the best known."],
    )


if __name__ == "__main__":
    main()
