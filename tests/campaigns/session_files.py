"""Damaged session files by the thousand: none stops a reader or costs another file.

``python tests/campaigns/session_files.py --inputs 5000`` makes so many out of ordinary ones, each
from a seed, reads them in processes of their own and prints how often each outcome came; what is
wrong is printed with its seed.
"""

import argparse
import collections
import gzip
import io
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

N_TRIALS = 24
Random = np.random.Generator


class Mutant(NamedTuple):
    """A folder with one damaged file of subject ``bad`` and good ones of subject ``good``."""

    root: Path
    source_format: str
    task: str
    what: str


def columns(random: Random) -> dict[str, np.ndarray]:
    """Columns of an ordinary session of an IBL task."""
    right = random.random(N_TRIALS) < 0.5
    contrast = random.choice([0, 0.125, 0.25, 1], N_TRIALS)
    start = np.cumsum(random.uniform(3, 5, N_TRIALS))
    return {
        "choice": random.choice([1, -1, 0], N_TRIALS),
        "contrastLeft": np.where(right, np.nan, contrast),
        "contrastRight": np.where(right, contrast, np.nan),
        "feedbackType": random.choice([1, -1], N_TRIALS),
        "probabilityLeft": np.repeat([0.5, 0.2, 0.8], N_TRIALS // 3),
        "stimOn_times": start,
        "response_times": start + 0.9,
    }


def rows(subject: str, random: Random) -> pl.DataFrame:
    """Rows of two ordinary sessions of a two-choice task, with a column that nobody reads."""
    return pl.DataFrame(
        {
            "subject": [subject] * N_TRIALS,
            "session": ["d0"] * (N_TRIALS // 2) + ["d1"] * (N_TRIALS // 2),
            "stimulus": random.choice([-1, -0.5, 0.5, 1], N_TRIALS),
            "choice": random.integers(0, 2, N_TRIALS),
            "feedback": random.integers(0, 2, N_TRIALS),
            "note": ["a note"] * N_TRIALS,
        }
    )


# -- bytes -----------------------------------------------------------------------------------------


def damage(data: bytes, random: Random) -> bytes:
    """Cut, flip, overwrite, insert or repeat some bytes."""
    if not data:
        return data
    kind = random.integers(7)
    start, length = int(random.integers(len(data))), int(random.integers(1, 40))
    if kind == 0:
        return data[:start]
    if kind in (1, 2):
        flipped = bytearray(data)
        for _ in range(int(random.integers(1, 8))):
            flipped[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        return bytes(flipped)
    if kind == 3:
        return data[:start] + random.bytes(length) + data[start + length :]
    if kind == 4:
        return data[:start] + bytes(length) + data[start:]
    if kind == 5:
        return data[:start] + data[start : start + length] * int(random.integers(2, 50)) + data
    return data[:start] + data[start + length :]


# -- text ------------------------------------------------------------------------------------------


def _set_value(value: str) -> Callable[[str, Random], str]:
    def change(text: str, random: Random) -> str:
        lines = text.split("\n")
        at = int(random.integers(len(lines)))
        fields = lines[at].split(",")
        fields[int(random.integers(len(fields)))] = value
        lines[at] = ",".join(fields)
        return "\n".join(lines)

    return change


_VALUES = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 400,
    "1,5",
    '"',
    '5" x',
    '"open',
    "\0",
    "\x1b[2J",
)
_VALUES += (
    "é",
    "\ufeff",
    "\u202e",
    "x" * 200_000,
    "," * 50_000,
    "'",
    "=1+1",
    " ",
    "\t",
    "\r",
    "\x0c",
)

TEXTS: dict[str, Callable[[str, Random], str]] = {
    **{f"value {value[:8]!r}": _set_value(value) for value in _VALUES},
    "semicolons": lambda text, _: text.replace(",", ";").replace(".", ","),
    "tabs": lambda text, _: text.replace(",", "\t"),
    "bars": lambda text, _: text.replace(",", "|"),
    "spaces": lambda text, _: text.replace(",", " "),
    "lone CR": lambda text, _: text.replace("\n", "\r"),
    "CR LF": lambda text, _: text.replace("\n", "\r\n"),
    "blank lines": lambda text, _: text.replace("\n", "\n\n"),
    "twice": lambda text, _: text + text,
    "column twice": lambda text, _: text.replace("note", "choice", 1),
    "no header": lambda text, _: text.partition("\n")[2],
    "quotes": lambda text, r: "".join('"' if r.random() < 0.02 else c for c in text),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1")


def csv_file(random: Random) -> tuple[bytes, str]:
    """Make a text table with up to three changes of its text, then perhaps of its bytes."""
    text, said = rows("bad", random).write_csv(), []
    for name in random.choice(list(TEXTS), int(random.integers(0, 4))):
        text = TEXTS[str(name)](text, random)
        said.append(str(name))
    encoding = str(random.choice(ENCODINGS)) if random.random() < 0.3 else "utf-8"
    data = text.encode(encoding, "replace")
    if random.random() < 0.2:
        data = gzip.compress(data)
    return _perhaps_damaged(data, [encoding, *said], random)


# -- Parquet ---------------------------------------------------------------------------------------

_TYPES: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "list": lambda c: pl.concat_list(c),
    "struct": lambda c: pl.struct(c.alias("x")),
    "array": lambda c: pl.concat_arr(c),
    "int128": lambda c: c.cast(pl.Int128, strict=False),
    "decimal": lambda c: c.cast(pl.Decimal(20, 3), strict=False),
    "binary": lambda c: c.cast(pl.String).cast(pl.Binary),
    "date": lambda c: c.cast(pl.Int32, strict=False).cast(pl.Date),
    "datetime": lambda c: c.cast(pl.Int64, strict=False).cast(pl.Datetime("ns", "UTC")),
    "duration": lambda c: c.cast(pl.Int64, strict=False).cast(pl.Duration("us")),
    "time": lambda c: c.cast(pl.Int64, strict=False).cast(pl.Time, strict=False),
    "category": lambda c: c.cast(pl.String).cast(pl.Categorical),
    "null": lambda c: pl.lit(None).alias(c.meta.output_name()),
    "bool": lambda c: c.cast(pl.Boolean, strict=False),
    "float32": lambda c: c.cast(pl.Float32, strict=False),
    "uint64": lambda c: c.cast(pl.UInt64, strict=False),
    "infinite": lambda c: pl.lit(float("inf")).alias(c.meta.output_name()),
}


def parquet_file(table: pl.DataFrame, random: Random) -> tuple[bytes, str]:
    """Make a Parquet file with other types in some columns, then perhaps damage its bytes."""
    said = []
    for _ in range(int(random.integers(0, 3))):
        name, kind = str(random.choice(table.columns)), str(random.choice(list(_TYPES)))
        try:
            changed = table.with_columns(_TYPES[kind](pl.col(name)).alias(name))
        except pl.exceptions.PolarsError:
            continue
        table, said = changed, [*said, f"{name} as {kind}"]
    file = io.BytesIO()
    packing = str(random.choice(["zstd", "snappy", "gzip", "lz4", "uncompressed"]))
    table.write_parquet(file, compression=packing, row_group_size=int(random.integers(1, 30)))  # type: ignore[arg-type]
    return _perhaps_damaged(file.getvalue(), [packing, *said], random)


# -- npy -------------------------------------------------------------------------------------------

_DTYPES = (
    "'<U0'",
    "'<U5'",
    "'|S5'",
    "'|O'",
    "'<c16'",
    "'<M8[ns]'",
    "'<f2'",
    "'>f8'",
    "'|b1'",
    "'|V8'",
)
_DTYPES += (
    "'<f16'",
    "'<i1000000'",
    "[('a', '<f8')]",
    "'<f8,<f8'",
    "'(1000000000,)<f8'",
    "''",
    "5",
    "None",
)
_SHAPES = (
    "(24,)",
    "(1000000000000,)",
    "(-1,)",
    "(-24, -1)",
    "()",
    "(0,)",
    "(24, 1)",
    "(3, 8)",
    "24",
)
_SHAPES += (
    "(9" * 100 + ")" * 100,
    "(99999999999999999999999,)",
    "(2**62,)",
    "('x',)",
    "(True,)",
    "(1.5,)",
)


def npy_file(values: np.ndarray, random: Random) -> tuple[bytes, str]:
    """Make an .npy file with a header that lies, or of another type, or with damaged bytes."""
    kind = int(random.integers(4))
    if kind == 0:
        dtype = str(random.choice(["f2", ">f8", "?", "U8", "S3", "c16", "i1", "u8", "O", "g"]))
        file = io.BytesIO()
        with np.errstate(all="ignore"):
            np.save(file, np.nan_to_num(values).astype(dtype), allow_pickle=True)
        return _perhaps_damaged(file.getvalue(), [dtype], random)
    if kind == 1:
        odd = values.astype(float)
        odd[int(random.integers(len(odd)))] = random.choice([np.nan, np.inf, -np.inf, 1e300])
        file = io.BytesIO()
        np.save(file, np.tile(odd, int(random.integers(0, 3))))
        return file.getvalue(), "odd values"
    if kind == 2:
        file = io.BytesIO()
        np.save(file, values)
        return damage(file.getvalue(), random), "damaged"
    dtype, shape = str(random.choice(_DTYPES)), str(random.choice(_SHAPES))
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    version = int(random.choice([1, 1, 1, 2, 3, 9]))
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    data = b"\x93NUMPY" + bytes([version, 0]) + length + header + values.tobytes()
    return _perhaps_damaged(data, [dtype, shape[:20], f"version {version}"], random)


def _perhaps_damaged(data: bytes, said: list[str], random: Random) -> tuple[bytes, str]:
    if random.random() < 0.6:
        data, said = damage(data, random), [*said, "damaged"]
    return data, ", ".join(said)


# -- folders ---------------------------------------------------------------------------------------


def make_mutant(root: Path, seed: int) -> Mutant:
    """Write the session files of a seed."""
    random = np.random.default_rng(seed)
    kind = ("csv", "parquet", "npy", "table")[seed % 4]
    if kind in ("csv", "parquet"):
        good = rows("good", random)
        if kind == "csv":
            data, what = csv_file(random)
            good.write_csv(root / "good.csv")
        else:
            data, what = parquet_file(rows("bad", random), random)
            good.write_parquet(root / "good.parquet")
        (root / f"bad.{kind}").write_bytes(data)
        return Mutant(root, kind, "two_afc", f"{kind}: {what}")
    for subject in ("good", "bad"):
        folder = root / "lab" / "Subjects" / subject / "2020-01-01" / "001" / "alf"
        folder.mkdir(parents=True)
        session = columns(random)
        for name, values in session.items():
            np.save(folder / f"_ibl_trials.{name}.npy", values)
    if kind == "npy":
        name = str(random.choice(list(session)))
        data, what = npy_file(session[name], random)
        (folder / f"_ibl_trials.{name}.npy").write_bytes(data)
    else:
        data, what = parquet_file(pl.DataFrame(session), random)
        for file in folder.iterdir():
            file.unlink()
        (folder / "_ibl_trials.table.pqt").write_bytes(data)
    return Mutant(root, "alf", "ibl_2afc", f"{kind}: {what}")


# -- outcomes ------------------------------------------------------------------------------------

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
