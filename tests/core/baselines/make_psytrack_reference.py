"""Make ``psytrack_rat.npz``, what drifting weights are compared with; takes two minutes.

    python tests/core/baselines/make_psytrack_reference.py

It fits psytrack 2.0.2 (Roy et al. 2021, Neuron 109:597), step sizes learned, to the first trials
of the rat that the package carries, and keeps the step sizes and every 20th trial's weights.
"""

from pathlib import Path

import numpy as np
import psytrack

FILE = Path(__file__).with_name("psytrack_rat.npz")
TRIALS, EVERY = 4000, 40
#: Columns of the rat's inputs; psytrack orders weights by name.
NAMES = ("bias", "s1", "s2")


def rat():
    """First trials of the rat: choices 0 or 1, regressors (T, 3), session of each trial."""
    path = Path(psytrack.__file__).parent / "examples" / "sampleRatData.npz"
    data = np.load(path, allow_pickle=True)["D"].item()  # the package's own file
    days = np.repeat(np.arange(len(data["dayLength"])), data["dayLength"])[:TRIALS]
    X = [data["inputs"][name][:TRIALS, 0] for name in NAMES[1:]]
    return data["y"][:TRIALS].astype(int) - 1, np.column_stack([np.ones(TRIALS), *X]), days


def main():
    y, X, days = rat()
    given = {
        "y": y + 1,
        "inputs": {name: X[:, [i]] for i, name in enumerate(NAMES) if name != "bias"},
        "dayLength": np.unique(days, return_counts=True)[1],
    }
    start = {"sigInit": 2.0**4, "sigma": np.full(3, 2.0**-4), "sigDay": np.full(3, 2.0**-4)}
    hyper, evidence, weights, more = psytrack.hyperOpt(
        given, start, dict.fromkeys(NAMES, 1), ["sigma", "sigDay"]
    )
    np.savez(
        FILE,
        names=np.array(NAMES),
        sigma=hyper["sigma"],
        sigma_day=hyper["sigDay"],
        sigma_init=hyper["sigInit"],
        log_evidence=evidence,
        trials=TRIALS,
        rows=np.arange(0, TRIALS, EVERY),
        weights=weights.T[::EVERY].astype(np.float32),
        sd=more["W_std"].T[::EVERY].astype(np.float32),
    )


if __name__ == "__main__":
    main()
