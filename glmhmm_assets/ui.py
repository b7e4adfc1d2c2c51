"""The pages: Dagster (with its daemon) and MLflow, started together and ended together.

What belongs here is starting processes, waiting until they answer, and ending every one of
them. What the pages show is made elsewhere.
"""

import contextlib
import ctypes
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from rich.console import Console

from glmhmm_assets.addresses import DAGSTER, MLFLOW, PUBLIC_MLFLOW, WORKFLOW
from glmhmm_assets.home import prepare_home
from glmhmm_assets.leftovers import clear
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.stores import dagster_instance
from glmhmm_core.errors import InputError

HOST = "127.0.0.1"

#: Starts both servers with the guard before their pages.
GUARDED = "glmhmm_assets.guarded"

#: Ports that are taken where nothing listens on them and none are asked for.
DAGSTER_PORT, MLFLOW_PORT = 3000, 5000

#: Asks servers on this machine, never through a proxy.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

#: Seconds within which both pages must answer, and processes may take to end by themselves.
START_SECONDS = 300
STOP_SECONDS = 20


@dataclass(frozen=True)
class Server:
    """A server to start: its command, what it answers to when it is up, and its log."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    alive: str
    log: Path


def serve(home: Path, dagster_port: int | None, mlflow_port: int | None, console: Console) -> int:
    """Run the pages until Ctrl-C, SIGTERM or the end of Dagster; give the exit code.

    Parameters
    ----------
    home
        Dagster's home, whose studies are shown.
    dagster_port, mlflow_port
        Where to listen; None for the usual port, or a free one where that is taken.
    console
        Where the addresses are told.

    Raises
    ------
    InputError
        If a port that was asked for is taken, or the pages of this home are open already.
    """
    home = prepare_home(home)
    tracker = MlflowTracker()
    try:
        held = FileLock(home / "ui.lock").acquire(timeout=0)
    except Timeout:
        raise InputError(
            "its pages are open already",
            where=str(home),
            remedy="Use those, or end the `glmhmm ui` that runs elsewhere.",
        ) from None
    with held:
        with dagster_instance(home) as instance:
            clear(home, instance)
        dagster_port = _port(dagster_port, DAGSTER_PORT, "--dagster-port", console)
        dagster_url = f"http://{HOST}:{dagster_port}"
        if tracker.has_server:
            env = {**os.environ, DAGSTER: dagster_url, MLFLOW: tracker.store_uri}
            servers = [_dagster(home, dagster_port, env)]
        else:
            mlflow_port = _port(mlflow_port, MLFLOW_PORT, "--mlflow-port", console)
            env = {**os.environ, DAGSTER: dagster_url, MLFLOW: f"http://{HOST}:{mlflow_port}"}
            tracker.make_store()
            servers = [
                _dagster(home, dagster_port, env),
                _mlflow(home, mlflow_port, tracker.store_uri, env),
            ]
        return _run(servers, console, lambda: _addresses(home, env))


def _dagster(home: Path, port: int, env: Mapping[str, str]) -> Server:
    """Dagster's pages, daemon and code server: one command runs all three."""
    workspace = str(Path(__file__).with_name("workspace.yaml"))
    command = ["-m", GUARDED, "dagster", "dev", "-w", workspace]
    command += ["--host", HOST, "--port", str(port)]
    return Server(
        "Dagster",
        [sys.executable, *command],
        env,
        f"http://{HOST}:{port}/server_info",
        home / "logs" / "ui-dagster.log",
    )


def _mlflow(home: Path, port: int, store: str, env: Mapping[str, str]) -> Server:
    """MLflow's pages, with their own checks; without their job runner and its eight processes."""
    command = ["-m", GUARDED, "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--artifacts-destination", (home / "mlflow" / "served").as_uri()]
    return Server(
        "MLflow",
        [sys.executable, *command, "--host", HOST, "--port", str(port)],
        {
            **env,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
            **_mlflow_checks(env),
        },
        f"http://{HOST}:{port}/health",
        home / "logs" / "ui-mlflow.log",
    )


def _mlflow_checks(env: Mapping[str, str]) -> dict[str, str]:
    """Let MLflow's own checks know a proxy's name too; without one they know this machine alone."""
    if not env.get(PUBLIC_MLFLOW):
        return {}
    public = urlsplit(env[PUBLIC_MLFLOW])
    hosts = ["localhost", "127.0.0.1", "[::1]", public.hostname or ""]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{host},{host}:*" for host in hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"{public.scheme}://{public.netloc}",
    }


def _addresses(home: Path, env: Mapping[str, str]) -> str:
    """Pages that show the studies: Dagster's assets, and what MLflow has of each study."""
    mlflow = env[MLFLOW].rstrip("/")
    pages = [f"  Dagster  {env[DAGSTER]}/asset-groups"]
    found = _experiments(mlflow)
    studies = [file.stem for file in sorted((home / "studies").glob("*.toml"))]
    for study in filter(found.get, studies):
        pages.append(f"  MLflow   {mlflow}/#/experiments/{found[study]}/runs?{WORKFLOW} ({study})")
    if len(pages) == 1:
        pages.append(f"  MLflow   {mlflow}/#/experiments?{WORKFLOW}")
    return "\n".join([*pages, "Ctrl-C ends both."])


def _experiments(mlflow: str) -> dict[str, str]:
    """Ids of MLflow's experiments by name; none where it does not say."""
    request = urllib.request.Request(
        f"{mlflow}/api/2.0/mlflow/experiments/search",
        json.dumps({"max_results": 1000}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            experiments = json.load(answer).get("experiments", [])
    except (OSError, ValueError):
        return {}
    return {one["name"]: one["experiment_id"] for one in experiments}


def _port(asked: int | None, usual: int, option: str, console: Console) -> int:
    """Choose a port that nothing listens on: two daemons would start every run twice."""
    port = usual if asked is None else asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            return port
        except OSError as error:
            if asked is not None:
                raise InputError(
                    f"port {port} cannot be used ({error.strerror})",
                    where=option,
                    remedy=f"End what listens there, or give another one with {option}.",
                ) from error
        probe.bind((HOST, 0))
        free = int(probe.getsockname()[1])
    console.print(f"Port {port} is taken; {free} is used in its place.", highlight=False)
    return free


def _run(servers: Sequence[Server], console: Console, addresses: Callable[[], str]) -> int:
    """Start the servers, say when they answer, and wait; whatever happens, end them all."""
    stop = threading.Event()
    with _on_signals(stop.set), _started(servers) as processes:
        running = list(zip(servers, processes, strict=True))
        with console.status("Starting the pages; this takes about half a minute"):
            deadline = time.monotonic() + START_SECONDS
            waiting = list(servers)
            while waiting and not stop.is_set():
                if (ended := _ended(running)) or time.monotonic() > deadline:
                    _explain(ended or waiting[0], console)
                    return 1
                waiting = [server for server in waiting if not _answers(server.alive)]
                stop.wait(0.5)
            if not stop.is_set() and (bare := next(itertools.filterfalse(_guarded, servers), None)):
                console.print(
                    f"{bare.name} does not ask its guard, so any web page could drive it. Install "
                    "the versions of requirements.lock.",
                    highlight=False,
                )
                return 1
        if not stop.is_set():
            console.print(addresses(), highlight=False, soft_wrap=True)
        while not stop.wait(0.5):
            if ended := _ended(running):
                _explain(ended, console)
                if ended is servers[0]:
                    return 1
                # Runs write to the store without the pages, so there is no reason to end them.
                console.print("Dagster goes on. Ctrl-C ends it.")
                running = [(server, process) for server, process in running if server is not ended]
        console.print("Ending")
    return 0


@contextlib.contextmanager
def _on_signals(call: Callable[[], None]) -> Iterator[None]:
    """Call when asked to end.

    A handler set here also gives the children their default one back: a shell starts background
    jobs with SIGINT ignored, children inherit that, and Dagster would then ignore SIGTERM too.
    """
    before = {
        number: signal.signal(number, lambda *_: call())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _started(servers: Sequence[Server]) -> Iterator[list[subprocess.Popen]]:
    """Run servers, each in a session of its own, so that its whole process group can be ended."""
    processes: list[subprocess.Popen] = []
    try:
        for server in servers:
            server.log.parent.mkdir(parents=True, exist_ok=True)
            with server.log.open("wb") as log:
                process = subprocess.Popen(
                    server.command,
                    env=dict(server.env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
            processes.append(process)
        yield processes
    finally:
        _end(processes)


def _end_with_parent() -> None:
    """Have a child told to end if the process that started it is killed (Linux alone can)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _end(processes: Sequence[subprocess.Popen]) -> None:
    """End process groups: ask their leaders, who end their children, and kill what is left."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0))
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ended(running: Iterable[tuple[Server, subprocess.Popen]]) -> Server | None:
    """Find a server that ended by itself."""
    return next((server for server, process in running if process.poll() is not None), None)


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _guarded(server: Server) -> bool:
    """True if a server refuses a request under a foreign name, such as that of a rebound one."""
    request = urllib.request.Request(server.alive, headers={"Host": "elsewhere.invalid"})
    try:
        with _direct.open(request, timeout=10):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 403 and error.read().startswith(b"Refused:")
    except OSError:
        return False


def _explain(server: Server, console: Console) -> None:
    """Say that a server is not there, with the end of its log."""
    lines = server.log.read_text(errors="replace").splitlines()[-15:]
    console.print(f"{server.name} ended or does not answer. The end of {server.log}:")
    console.print("\n".join(lines), highlight=False, markup=False)
