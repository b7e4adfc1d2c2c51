"""Parsing files in a process apart, so that one that crashes the parser costs that file alone.

The process is started when it is first needed and used for all files after that. What it runs is
in ``parser_process.py``.
"""

import atexit
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import polars as pl

from glmhmm_core.trials.files import Unreadable
from glmhmm_core.trials.parser_process import LENGTHS, Parsed

#: Seconds that a file may take, and bytes that reading it may need; both grow with its size.
SECONDS, SECONDS_PER_BYTE = 4.0, 1 / 20e6
MEMORY, MEMORY_PER_BYTE = 2**30, 30

_DAMAGED = "it is damaged, or not of the format that its name says: copy it again from its source"
#: Signals that end a process because of what it did itself.
_CRASHES = {
    -getattr(signal, f"SIG{name}") for name in ("ABRT", "BUS", "FPE", "ILL", "SEGV", "TRAP")
}


def parse_isolated(parser: str, data: bytes, **options: Any) -> Parsed:
    """Parse a file's bytes in the process apart.

    Parameters
    ----------
    parser
        A name in ``parser_process.PARSERS``.
    data
        The bytes of the file.
    options
        What the parser takes, as JSON has it.

    Raises
    ------
    Unreadable
        The bytes are no file of this format, or crash the parser, or take it too long.
    OSError
        The process cannot be started.
    """
    seconds = SECONDS + len(data) * SECONDS_PER_BYTE
    request = {
        "parser": parser,
        "options": options,
        "seconds": seconds,
        "memory": MEMORY + len(data) * MEMORY_PER_BYTE,
    }
    with _lock:
        try:
            header, columns = _ask(request, data)
        except _Ended as ended:
            if ended.code == -signal.SIGALRM:
                raise Unreadable(
                    f"reading it takes longer than {seconds:.0f} s: {_DAMAGED}"
                ) from None
            raise Unreadable(f"reading it crashes the parser: {_DAMAGED}") from None
    if "damaged" in header:
        raise Unreadable(_DAMAGED)
    table = pl.read_ipc_stream(io.BytesIO(columns))
    return Parsed(header["names"], table, header["faults"])


class _Ended(Exception):
    """The process ended before it answered, with this exit code (minus a signal's number)."""

    def __init__(self, code: int) -> None:
        self.code = code


_lock = threading.Lock()
_process: "subprocess.Popen[bytes] | None" = None


def _ask(request: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Get one answer; a process that was ended from outside is replaced once."""
    try:
        return _ask_process(_running(), request, data)
    except _Ended as ended:
        if ended.code in _CRASHES or ended.code == -signal.SIGALRM:
            raise
    return _ask_process(_running(), request, data)


def _ask_process(
    process: "subprocess.Popen[bytes]", request: Mapping[str, Any], data: bytes
) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    header = json.dumps(request).encode()
    try:
        process.stdin.write(LENGTHS.pack(len(header), len(data)) + header)
        process.stdin.write(data)
        process.stdin.flush()
        lengths = process.stdout.read(LENGTHS.size)
        if len(lengths) == LENGTHS.size:
            header_length, data_length = LENGTHS.unpack(lengths)
            answer = process.stdout.read(header_length), process.stdout.read(data_length)
            if (len(answer[0]), len(answer[1])) == (header_length, data_length):
                return json.loads(answer[0]), answer[1]
    except BrokenPipeError:
        pass
    except BaseException:  # Ctrl-C in the middle of an answer: the next must not begin with it
        process.kill()
        _end()
        raise
    raise _Ended(_end())


def _running() -> "subprocess.Popen[bytes]":
    """Give the process, starting it if there is none."""
    global _process
    if _process is None or _process.poll() is not None:
        paths = [path or os.getcwd() for path in sys.path]  # noqa: PTH109
        _process = subprocess.Popen(
            [sys.executable, "-P", "-m", "glmhmm_core.trials.parser_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "POLARS_MAX_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the process that asks
        )
    return _process


def _end() -> int:
    """End the process and give its exit code."""
    global _process
    ended, _process = _process, None
    if ended is None:
        return 0
    for pipe in (ended.stdin, ended.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # of what was not sent
                pipe.close()
    return ended.wait()


def _forget() -> None:
    """Leave the process to its parent: a fork must not share its pipes."""
    global _process, _lock
    _process, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
atexit.register(_end)
