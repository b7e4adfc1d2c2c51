"""Variables that notebooks, clusters, proxies and debuggers leave in a command's environment.

They are kept away from work that does not need them. One that makes work impossible is named in an
error.
"""

import os
import subprocess
import sys
import warnings

from glmhmm_core.errors import InputError

#: Hosts that are this machine: no proxy is ever asked for them.
LOCAL = ("127.0.0.1", "localhost", "::1")
#: Variables with which JAX may end instead of starting.
_OF_JAX = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "XLA_FLAGS", "LIBTPU_INIT_ARGS")
#: Seconds in which JAX starts, on a busy machine too.
_START_SECONDS = 300
_START_JAX = "from glmhmm_core.fitting.devices import check_devices; check_devices()"


def settle() -> None:
    """Keep the environment from this process and from those that it starts."""
    ask_no_proxy_here()
    os.environ["PYTHONUTF8"] = "1"  # what is started reads text as UTF-8 wherever it runs
    # Libraries warn when they are imported; as errors, their warnings would end every command.
    os.environ.pop("PYTHONWARNINGS", None)
    if sys.warnoptions:
        warnings.filterwarnings("ignore")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal may not know the letters of a name
            stream.reconfigure(errors="backslashreplace")


def ask_no_proxy_here() -> None:
    """Have pages and servers of this machine asked directly, by everything in this process."""
    for name in ("NO_PROXY", "no_proxy"):
        known = [host for host in os.environ.get(name, "").split(",") if host.strip()]
        missing = [host for host in LOCAL if host not in known]
        os.environ[name] = ",".join([*known, *missing])


def check_jax() -> None:
    """Start JAX in another process if the environment says how: it may end that process.

    Raises
    ------
    InputError
        If it does not start.
    """
    said = {name: os.environ[name] for name in _OF_JAX if os.environ.get(name)}
    if not said or said == {"JAX_PLATFORMS": "cpu"}:
        return
    try:
        subprocess.run(
            [sys.executable, "-c", _START_JAX],
            capture_output=True,
            timeout=_START_SECONDS,
            check=True,
        )
        return
    except subprocess.TimeoutExpired:
        why = f"no answer in {_START_SECONDS} s"
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        # Of one message of ours, the problem alone.
        why = lines[-1].partition("environment: ")[2].partition(". ")[0] if lines else ""
        why = why or (lines[-1] if lines else f"exit code {error.returncode}")
    given = " ".join(f"{name}={value}" for name, value in said.items())
    raise InputError(
        f"JAX does not start with {given} ({why})",
        where="environment",
        remedy=f"Unset {' and '.join(said)}; JAX_PLATFORMS=cpu fits without a GPU, and an NVIDIA "
        "GPU needs the extra cuda.",
    )
