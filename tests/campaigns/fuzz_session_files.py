"""Fuzz campaign: damaged session files, none of which may stop a reader or cost another file.

``python tests/campaigns/fuzz_session_files.py --inputs 5000`` reads that many in processes of
their own and prints how often each outcome came; what is wrong is printed with its seed.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mutants import N_TRIALS, make_mutant

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

#: Outcomes that are right: the damage did not matter, or it is told.
RIGHT = ("read", "read and told", "named")
#: A reader that takes longer than this, in seconds, hangs.
LONGEST = 8.0
#: Inputs that one process reads, and the seconds after which it is ended.
BATCH, BATCH_SECONDS = 100, 600.0


def outcome_of(seed: int) -> tuple[str, str]:
    """Read the files of a seed; give the outcome, and what was done to the files."""
    with tempfile.TemporaryDirectory() as folder:
        mutant = make_mutant(Path(folder), seed)
        task, began = load_task(mutant.task), time.monotonic()
        trials, told, intact = 0, 0, False
        try:
            found = scan(mutant.root, mutant.source_format, task)
            told += found.report.height
            for subject in found.subjects:
                try:
                    table, report = read_subject(mutant.root, mutant.source_format, task, subject)
                except InputError:
                    told += 1
                    continue
                told += report.height
                if subject == "good":
                    intact = table.height >= N_TRIALS
                else:
                    trials += table.height
        except BaseException as error:
            return f"foreign exception {type(error).__name__}: {str(error)[:200]}", mutant.what
        if time.monotonic() - began > LONGEST:
            return "hang", mutant.what
    if not intact:
        return "cost another file", mutant.what
    if trials:
        return ("read and told" if told else "read"), mutant.what
    return ("named" if told else "vanished in silence"), mutant.what


def outcomes(first: int, count: int) -> Iterator[tuple[int, str, str]]:
    """Read seeds in processes of their own; one that dies costs the seed it was at."""
    seed = first
    while seed < first + count:
        n_seeds = min(BATCH, first + count - seed)
        command = [sys.executable, __file__, "--first", str(seed), "--batch", str(n_seeds)]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=BATCH_SECONDS
            )
            lines, died = done.stdout.splitlines(), f"abort (exit code {done.returncode})"
        except subprocess.TimeoutExpired as expired:
            lines, died = (expired.stdout or b"").splitlines(), "hang"
        for line in lines:
            yield (seed, *json.loads(line))
            seed += 1
        if len(lines) < n_seeds:
            yield seed, died, ""
            seed += 1


def main() -> int:
    """Run the campaign; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        for seed in range(options.first, options.first + options.batch):
            print(json.dumps(outcome_of(seed)), flush=True)
        return 0
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for seed, outcome, what in outcomes(options.first, options.inputs):
        counts[what.partition(":")[0], outcome] += 1
        if outcome not in RIGHT:
            print(f"seed {seed}: {outcome} ({what})", flush=True)
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:8} {outcome:20} {count}")
    return int(any(outcome not in RIGHT for _, outcome in counts))


if __name__ == "__main__":
    sys.exit(main())
