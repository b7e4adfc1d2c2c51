"""Parts of :mod:`benchmarks.study` that need a process of their own; each prints JSON.

``python -m benchmarks.study_parts compiles|cold|memory [--quick]``.
"""

import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Compilations(logging.Handler):
    """Counts what JAX says it compiles, by the name of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().split()
        if words and words[0] == "Compiling":
            self.names.append(words[1].removeprefix("jit(").removesuffix(")"))

    def of(self, name: str) -> int:
        """Compilations of one program so far."""
        return self.names.count(name)


@contextmanager
def _listening() -> Iterator[_Compilations]:
    import jax

    heard = _Compilations()
    logger = logging.getLogger("jax")
    logger.addHandler(heard)
    logger.propagate = False
    # Not by its context manager: that holds in this thread alone, and fits run in others.
    jax.config.update("jax_log_compiles", True)
    yield heard
    jax.config.update("jax_log_compiles", False)
    logger.removeHandler(heard)


def compiles(quick: bool) -> dict[str, object]:
    """Count compilations of the EM program over 40 subjects, K 1..5, 5 folds, and afterwards.

    Iterations do not matter to them: every climb is cut short.
    """
    from benchmarks.subjects import cohort
    from glmhmm_core.fitting import FitSettings, fit_subjects

    settings = FitSettings(n_restarts=2, max_iters=2, cv_folds=5)
    mice = cohort(4 if quick else 40)
    designs = {mouse.name: mouse.design() for mouse in mice}
    with _listening() as heard:
        by_states = {}
        for num_states in range(1, 6):
            before = heard.of("_maximize")
            fit_subjects(designs, [num_states], settings)
            by_states[num_states] = heard.of("_maximize") - before
        # The same mice a session earlier: what one more session of each made compile anew.
        earlier = [mouse.first_sessions(len(mouse.bounds) - 2) for mouse in mice]
        same = [a.problem().layout.shape for a in mice], [b.problem().layout.shape for b in earlier]
        stays = [mouse for mouse, a, b in zip(earlier, *same, strict=True) if a == b]
        before = len(heard.names)
        fit_subjects({m.name: m.design() for m in stays}, range(1, 6), settings)
    return {
        "subjects": len(mice),
        "buckets": len(set(same[0])),
        "by_states": by_states,
        "all_programs": before,
        "stays": len(stays),
        "after_a_session": len(heard.names) - before,
    }


def cold(_quick: bool) -> dict[str, object]:
    """Time the imports, the first fit of this process, and the same fit again."""
    begin = time.perf_counter()
    from glmhmm_core.fitting.fit import fit_glmhmm

    imports = time.perf_counter() - begin
    from benchmarks.subjects import one_mouse

    mouse = one_mouse()
    wall, processor = [], []
    for _ in range(2):
        begin, busy = time.perf_counter(), time.process_time()
        fit_glmhmm(mouse.y, mouse.X, mouse.session_ids, num_states=3, num_classes=2)
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - busy)
    return {"imports": imports, "wall": wall, "processor": processor}


def memory(quick: bool) -> dict[str, object]:
    """Peak memory of 20 restarts on the trials of the whole cohort, before and with the fit."""
    from benchmarks.subjects import cohort, pooled
    from glmhmm_core.fitting.fit import fit_glmhmm

    everyone = pooled(cohort(4 if quick else 37))

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB to GiB

    before = peak()
    fit_glmhmm(
        everyone.y,
        everyone.X,
        everyone.session_ids,
        mask=everyone.y >= 0,
        num_states=5,
        num_classes=2,
        max_iters=3,
    )
    return {"trials": len(everyone.y), "before": before, "peak": peak()}


if __name__ == "__main__":
    part = {"compiles": compiles, "cold": cold, "memory": memory}[sys.argv[1]]
    print(json.dumps(part("--quick" in sys.argv)))
