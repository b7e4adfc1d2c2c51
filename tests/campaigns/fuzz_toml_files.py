"""Damaged study and task files by the thousand: each is read or told, and hides no other.

``python tests/campaigns/fuzz_toml_files.py --inputs 5000 --seed 1`` makes so many files out of the
project's own, reads each as Dagster does beside a good one, and counts what became of them. An
exception that is not the project's own, a long look or much memory makes the program fail; the
input is then kept.
"""

import argparse
import collections
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from glmhmm_assets.definitions import build_defs
from glmhmm_assets.study import load_studies, standing_alone
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import BUILT_IN

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "dagster_home/studies" / name for name in ("mice.toml", "rat.toml")]
TASKS = [*BUILT_IN.values(), ROOT / "dagster_home/studies/tasks/rat.toml"]
GOOD = 'title = "good"\ntask = "two_afc"\n[sessions]\npath = "x"\nformat = "csv"\n'

#: Seconds and bytes that one file may cost.
SECONDS, MEMORY = 5, 300_000_000

#: Values that somebody, or a damaged disk, may put in the place of another.
VALUES = [
    "0", "-1", "1", "9999999999", "9" * 5000, "1e308", "inf", "-inf", "nan", "0x" + "f" * 3000,
    "true", '""', '"a\\u0000.toml"', '"x.toml"', '"self.toml"', '"two_afc"', '"foo://x"',
    '"http://["', '"s3://b"', '"../../.."', '"/dev/zero"', '"/dev/stdin"', '"\\u202e\\u001b[2J"',
    "'" + "x" * 900 + "'", "'" + "x" * 5000 + "'", "[]", "[[]]", "[" * 500 + "]" * 500, "{}",
    "[1, 2, 3]", '["a", "b"]', "[" + "1," * 4000 + "]", "{a = 1}", "{column = 'x'}",
    "1979-05-27T07:32:00Z", "07:32:00", '"0 0 31 2 *"', '"* * * * *"', '"Europe/Nowhere"',
]  # fmt: skip
KEY = re.compile(r"^(\s*#?\s*)([\w.-]+)(\s*=\s*)(.*)$")


def change(text: str, rng: random.Random) -> bytes:
    """Damage a file in one to four ways."""
    data: str | bytes = text
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        ways = _LINES if isinstance(data, str) and rng.random() < 0.85 else _BYTES
        if ways is _BYTES and isinstance(data, str):
            data = data.encode()
        data = rng.choice(ways)(data, rng)
    return data.encode() if isinstance(data, str) else data


def _value(text: str, rng: random.Random) -> str:
    """Another value for a key; one that is commented comes into force."""
    lines = text.split("\n")
    keys = [i for i, line in enumerate(lines) if KEY.match(line)]
    if keys:
        i = rng.choice(keys)
        lines[i] = KEY.sub(lambda m: f"{m[2]}{m[3]}{rng.choice(VALUES)}", lines[i])
    return "\n".join(lines)


def _key(text: str, rng: random.Random) -> str:
    """Another name for a key, or a chain of names."""
    lines = text.split("\n")
    keys = [i for i, line in enumerate(lines) if KEY.match(line)]
    if keys:
        i = rng.choice(keys)
        name = rng.choice(["extends", "count", "names", "'\\u0007'", ".".join("a" * 400), "ä"])
        lines[i] = KEY.sub(lambda m: f"{name}{m[3]}{m[4]}", lines[i])
    return "\n".join(lines)


def _repeat(text: str, rng: random.Random) -> str:
    """A line many times, as a table or a list that has no end."""
    lines = text.split("\n")
    i = rng.randrange(len(lines))
    lines[i:i] = [lines[i]] * rng.choice([2, 100, 6000])
    return "\n".join(lines)


def _drop(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines) or "#"


def _swap(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return "\n".join(lines)


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"#")
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    what = rng.choice([b"\x00", b"\xff\xfe", b"[" * 3000, b'"""', b"\r", b"[[", b"'" * 3, b"\x1b"])
    return data[:at] + what + data[at:]


_LINES: list[Callable] = [_value, _value, _value, _key, _repeat, _drop, _swap]
_BYTES: list[Callable] = [_flip, _cut, _insert]


def _is_shown(home: Path, rng: random.Random) -> bool:
    """True if Dagster takes both studies; asked of one in ten, since it takes a second."""
    if rng.random() > 0.1:
        return True
    definitions = build_defs(home)
    try:
        dg.Definitions.validate_loadable(definitions)
    except Exception:
        return False
    return any(spec.key.path[0] == "good" for spec in definitions.resolve_all_asset_specs())


def outcome(data: bytes, of_task: bool, home: Path, rng: random.Random) -> str:
    """Read one file beside a good study; tell what became of it."""
    studies = home / "studies"
    studies.mkdir(parents=True, exist_ok=True)
    (studies / "good.toml").write_text(GOOD)
    odd = "two_afc"
    if of_task:
        (studies / "self.toml").unlink(missing_ok=True)
        (home / "tasks").mkdir(exist_ok=True)
        (home / "tasks" / "self.toml").write_bytes(data)
        (studies / "odd.toml").write_text(GOOD.replace(odd, "tasks/self.toml"))
    else:
        (studies / "odd.toml").write_bytes(data)
    found, problems = load_studies(studies)
    if of_task or "odd" in found:
        study = found["odd"]
        with standing_alone("odd", study.file, problems):
            study.load_task().feature_names  # noqa: B018
            _ = study.settings_digest(), study.sessions_root
    if "good" not in found:
        return "HIDES THE GOOD ONE"
    if "odd" not in problems:
        return "read" if _is_shown(home, rng) else "NO DEFINITIONS"
    problem: InputError = problems["odd"]
    if problem.__cause__ is not None and problem.problem.startswith("unexpected "):
        return f"FOREIGN {problem.problem}"
    str(problem).encode()
    return "told" if len(str(problem)) < 10_000 else "TOLD AT GREAT LENGTH"


def campaign(inputs: int, seed: int, keep: Path) -> collections.Counter:
    """Try so many inputs; count the outcomes, and keep the inputs of those in capitals."""
    rng = random.Random(seed)
    counts: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(inputs):
            of_task = rng.random() < 0.5
            data = change(rng.choice(TASKS if of_task else STUDIES).read_text(), rng)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            began = time.process_time()
            signal.alarm(12 * SECONDS)
            what = outcome(data, of_task, Path(folder), rng)
            signal.alarm(0)
            if time.process_time() - began > SECONDS:
                what = "SLOW"
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before > MEMORY:
                what = "LARGE"
            counts[what] += 1
            if what.isupper() or what.startswith("FOREIGN"):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}_{number}.toml").write_bytes(data)
    return counts


def main() -> int:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("kept_inputs"))
    asked = parser.parse_args()
    counts = campaign(asked.inputs, asked.seed, asked.keep)
    for what, count in counts.most_common():
        print(f"{count:6d}  {what}")
    return 0 if set(counts) <= {"read", "told"} else 1


if __name__ == "__main__":
    sys.exit(main())
