"""How time grows with trials, subjects and restarts: ``python -m benchmarks.scaling``.

Prints a table and draws ``benchmarks/scaling.png``. The climbs of the first part are cut to the
same number of iterations, so that only the size differs; the other two are whole fits.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.subjects import Subject, cohort, one_mouse
from benchmarks.table import print_table, say, seconds
from benchmarks.timing import side_by_side
from glmhmm_core.fitting import FitSettings, fit_glmhmm, fit_subjects

NUM_STATES = 3
TRIALS = (1_000, 10_000, 100_000, 1_000_000)
SUBJECTS = (5, 10, 20, 40)
RESTARTS = (5, 10, 20, 40)
ITERATIONS, ROUNDS = 20, 3
PICTURE = Path(__file__).with_name("scaling.png")


def _fit(mouse: Subject, **settings: int) -> object:
    arrays = (mouse.y, mouse.X, mouse.session_ids)
    return fit_glmhmm(*arrays, num_states=NUM_STATES, num_classes=2, **settings)  # type: ignore[arg-type]


def by_trials(sizes: tuple[int, ...]) -> dict[int, Callable[[], object]]:
    """One climb of equally many iterations, on more and more sessions of 100 trials."""
    return {
        n: partial(_fit, one_mouse(n // 100, 100), n_restarts=1, max_iters=ITERATIONS)
        for n in sizes
    }


def by_subjects(sizes: tuple[int, ...]) -> dict[int, Callable[[], object]]:
    """Whole fits of more and more mice, five restarts each."""
    designs = {mouse.name: mouse.design() for mouse in cohort(max(sizes))}
    settings = FitSettings(n_restarts=5)
    return {
        n: partial(fit_subjects, dict(list(designs.items())[:n]), [NUM_STATES], settings)
        for n in sizes
    }


def by_restarts(sizes: tuple[int, ...]) -> dict[int, Callable[[], object]]:
    """Whole fits of one mouse from more and more starts."""
    return {n: partial(_fit, one_mouse(), n_restarts=n) for n in sizes}


def draw(parts: dict[str, dict[int, float]]) -> None:
    """Draw time against size with both axes logarithmic, and a line of proportion."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (title, times) in zip(figure.subplots(1, len(parts)), parts.items(), strict=True):
        sizes, took = np.array(list(times)), np.array(list(times.values()))
        axes.loglog(sizes, took, "o-", label="measured")
        axes.loglog(sizes, took[-1] * sizes / sizes[-1], ":", color="0.5", label="proportional")
        axes.set(xlabel=title)
        axes.set_xticks(sizes)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(EngFormatter("s"))
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the two smallest of each")
    args = parser.parse_args()
    most = 2 if args.quick else None
    parts: dict[str, dict[int, float]] = {}
    for title, sizes, make in (
        ("trials", TRIALS, by_trials),
        ("subjects", SUBJECTS, by_subjects),
        ("restarts", RESTARTS, by_restarts),
    ):
        say(f"{title} ...")
        parts[title] = side_by_side(make(sizes[:most]), ROUNDS)
    rows = []
    for title, times in parts.items():
        least = min(times)
        for size, took in times.items():
            growth = (took / times[least]) / (size / least)
            rows.append([f"{size:,} {title}", seconds(took), f"{growth:.2f}x"])
    print_table(
        f"Time against size, K = {NUM_STATES}, warm",
        ["size", "time", "time / proportional"],
        rows,
        [
            f"Trials: one climb of {ITERATIONS} iterations, with validation, GLM and posteriors. "
            "Subjects: 5 restarts each. Restarts: of 5,000 trials.",
            "Proportional: to the smallest size of the part.",
        ],
    )
    if not args.quick:
        draw(parts)


if __name__ == "__main__":
    main()
