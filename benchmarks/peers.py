"""One subject, one start, against other packages: ``python -m benchmarks.peers``.

Same choices, number of states, starting point and flat priors for all; one evaluator
(:mod:`benchmarks.evaluator`) judges the parameters that each returns. A peer runs in an
environment of its own, as it is shipped, by its own EM; it counts as arrived once its
log-likelihood is within 1e-3 nats of the best that any contender reaches. One that is short at
its own stop goes on to the limits and is reported as ``> that`` with its shortfall.

Two ratios: EM alone, arrays prepared and everything compiled, against our climb alone; and a
user's second call of the peer's fit, which for some compiles anew, against our whole call.
"""

import argparse
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.contenders import NEAR, Ours, Run, floor
from benchmarks.environments import Environment, Unavailable
from benchmarks.subjects import Subject, one_mouse, starts
from benchmarks.table import print_table, say
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import fit_glmhmm

#: Iterations and seconds after which a peer is given up.
MOST_ITERATIONS, MOST_SECONDS = 2000, 600.0


@dataclass(frozen=True)
class Peer:
    """Another package.

    Attributes
    ----------
    title, worker
        What the table and the worker call it.
    environment, packages
        Where it runs, and the packages whose versions count.
    own_stop
        Iterations it makes unless told otherwise; 0 if it stops by a tolerance.
    compiles_anew
        Whether every call of its fit compiles again.
    """

    title: str
    worker: str
    environment: Environment
    packages: tuple[str, ...]
    own_stop: int
    compiles_anew: bool


_DYNAMAX = Environment("dynamax", ("dynamax>=1.0.2",))
PEERS = (
    Peer(
        "glmhmmt SoftmaxGLMHMM",
        "glmhmmt",
        Environment("glmhmmt", ("glmhmmt==0.4.2", "numpy<2.4")),
        ("glmhmmt", "jax"),
        50,
        compiles_anew=False,
    ),
    Peer(
        "Dynamax CategoricalRegressionHMM",
        "dynamax_categorical",
        _DYNAMAX,
        ("dynamax", "jax"),
        50,
        compiles_anew=True,
    ),
    Peer(
        "Dynamax LogisticRegressionHMM",
        "dynamax_logistic",
        _DYNAMAX,
        ("dynamax", "jax"),
        50,
        compiles_anew=True,
    ),
    Peer(
        "NeMoS GLMHMM",
        "nemos",
        Environment("nemos", ("nemos>=0.2.9",), min_python=12),
        ("nemos", "jax"),
        0,
        compiles_anew=True,
    ),
)


def peer(contender: Peer, subject: Subject, start: Parameters, target: float) -> Run:
    """Have a peer fit, in its environment."""
    root = Path(__file__).parents[1]
    interpreter = contender.environment.python()
    with tempfile.TemporaryDirectory() as folder:
        data, result = Path(folder, "data.npz"), Path(folder, "result.npz")
        np.savez(
            data,
            X=subject.X,
            y=subject.y,
            session=np.repeat(np.arange(len(subject.bounds) - 1), np.diff(subject.bounds)),
            bounds=subject.bounds,
            bias=1,
            initial=start.initial_probs,
            transition=start.transition_matrix,
            weights=np.asarray(start.emission_weights)[:, 0],
            target=target,
            seconds=MOST_SECONDS,
            iterations=MOST_ITERATIONS,
            own_stop=contender.own_stop,
        )
        command = [str(interpreter), "-W", "ignore", "-m", "benchmarks.peer_worker"]
        # The peers come as they are shipped: nothing of this process's settings reaches them.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        done = subprocess.run(
            [*command, contender.worker, str(data), str(result)],
            cwd=root,
            env={**clean, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(done.stderr.strip().splitlines()[-1])
        made = dict(np.load(result))
    return Run(
        contender.title,
        float(made["compiled"]),
        contender.compiles_anew,
        made["trace"],
        contender.own_stop,
    )


def compare(subject: Subject, start: Parameters, title: str) -> None:
    """Print the table of one starting point."""
    own = Ours(subject, start)
    target = max(run.trace[-1, 2] for run in own.runs())
    others, notes = {"floor": floor(subject, start, target - NEAR / 10)}, []
    for contender in PEERS:
        say(f"{title}: {contender.title} ...")
        try:
            others[contender.title] = peer(contender, subject, start, target - NEAR / 10)
            versions = contender.environment.versions(*contender.packages)
            notes.append(f"{contender.title}: {versions}")
        except Unavailable as reason:
            notes.append(f"{contender.title} did not run: {reason}")
        own.take_turn(5)
    best = max(target, *(np.nanmax(run.trace[:, 2]) for run in others.values()))
    for contender in PEERS:  # who stopped at what was the best before another went higher
        run = others.get(contender.title)
        if run is not None and target - NEAR <= np.nanmax(run.trace[:, 2]) < best - NEAR:
            others[contender.title] = peer(contender, subject, start, best - NEAR / 10)
    ours = own.runs()
    climb, call = (run.trace[-1, 1] for run in ours)
    notes += [
        f"Best log-likelihood {best:.4f} nats.",
        "Ours are medians over turns between the peers, to our own stop.",
        "A second call of a peer is its EM until it arrives, and what it compiles anew.",
    ]
    print_table(
        title,
        [
            "contender",
            "compiling",
            "per iteration",
            "own stop",
            "nats short",
            f"within {NEAR:g} nats",
            "nats short",
            "EM alone / our climb",
            "second call / our call",
        ],
        [run.row(best, climb, call) for run in [*ours, *others.values()]],
        notes,
    )


def main() -> None:
    """Print a table per starting point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=3, help="starting points, a table each")
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials, one start")
    args = parser.parse_args()
    subject = one_mouse(sessions=5 if args.quick else 50)
    glm = fit_glmhmm(subject.y, subject.X, subject.session_ids, num_states=1, num_classes=2)
    weights = np.asarray(glm.fitted_params.emission_weights)[0]
    for number, start in enumerate(starts(weights, "", 3, 1 if args.quick else args.starts)):
        compare(
            subject,
            start,
            f"One subject, {len(subject.y)} trials, K = 3, flat priors, warm; start {number}",
        )


if __name__ == "__main__":
    main()
