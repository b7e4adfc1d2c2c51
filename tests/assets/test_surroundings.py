"""Variables of a command's environment that do no harm, and those that an error names."""

import os
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from glmhmm_assets import surroundings
from glmhmm_assets.cli import main
from glmhmm_assets.home import prepare_home
from glmhmm_assets.study import dagster_home
from glmhmm_core.errors import InputError


def python(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, **environment}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_do_not_care_about_the_backend_of_a_notebook(backend):
    done = python("import glmhmm_core.plots.style", MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr


def test_a_backend_that_is_there_is_kept():
    code = "import glmhmm_core.plots.style, matplotlib as m; print(m.rcParams['backend'])"
    assert python(code, MPLBACKEND="svg").stdout == "svg\n"


FIT = """
import numpy as np
from glmhmm_core.fitting.fit import fit_glmhmm
rng = np.random.default_rng(0)
X = np.column_stack([rng.normal(size=240), np.ones(240)])
y = (X[:, 0] + rng.normal(size=240) > 0).astype(int)
fit = fit_glmhmm(y, X, np.repeat([0, 1], 120), num_states=2, num_classes=2, n_restarts=1)
print(fit.raw_log_likelihood)
"""


def test_switches_of_who_debugs_jax_change_no_fit():
    usual = {"JAX_DEBUG_NANS": "0", "JAX_DISABLE_JIT": "0", "JAX_ENABLE_X64": "1"}
    odd = {
        "JAX_DEBUG_NANS": "1",
        "JAX_DISABLE_JIT": "1",
        "JAX_ENABLE_X64": "0",
        "JAX_TRANSFER_GUARD": "disallow",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
    }
    first, second = python(FIT, **usual), python(FIT, **odd)
    assert first.stdout == second.stdout, second.stderr
    assert first.returncode == 0
    assert "jax_debug_nans is set from True to False" in second.stderr


def test_a_device_that_is_not_there_is_named_from_python():
    said = python(FIT, JAX_PLATFORMS="nowhere").stderr
    assert "JAX has no device of JAX_PLATFORMS='nowhere'. Unset it" in said


@pytest.mark.parametrize(("name", "value"), [("JAX_PLATFORMS", "nowhere"), ("XLA_FLAGS", "--no=1")])
def test_jax_that_would_not_start_is_told_before_anything_is_done(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"JAX does not start with .*{name}={value} .*Unset"):
        surroundings.check_jax()


def test_the_processor_alone_needs_no_trial(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was tried"))
    surroundings.check_jax()


def test_pages_of_this_machine_are_asked_without_a_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "lab.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    surroundings.ask_no_proxy_here()
    surroundings.ask_no_proxy_here()
    assert os.environ["no_proxy"] == "lab.example,127.0.0.1,localhost,::1"
    assert urllib.request.proxy_bypass_environment("127.0.0.1:3000")
    assert not urllib.request.proxy_bypass_environment("elsewhere.example")


def test_warnings_as_errors_and_an_old_locale_end_no_command(tmp_path):
    code = "from glmhmm_assets.cli import main; main(['check', '\\u9f20'])"
    env = {"DAGSTER_HOME": str(tmp_path), "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "latin-1"}
    done = python(code, **env)
    assert done.returncode == 2, done.stderr
    assert "there is no study '\\u9f20'" in done.stderr


def test_a_home_may_be_named_from_ones_own(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", "~/my lab #1")
    assert dagster_home() == tmp_path / "my lab #1"


def test_a_relative_home_is_of_the_folder_one_is_in(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "here")
    assert prepare_home(dagster_home()) == tmp_path / "here"
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "here")


@pytest.mark.parametrize("name", ["what?", "50%20"])
def test_a_home_below_which_no_database_can_lie_is_told(tmp_path, name):
    with pytest.raises(InputError, match=r"DAGSTER_HOME=.*Rename the folder"):
        prepare_home(tmp_path / name)


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_home_that_is_a_file_is_told(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"DAGSTER_HOME=.*cannot be made or written"):
        prepare_home(tmp_path / "file" / below)


def test_a_home_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"Permission denied.*another folder"):
        prepare_home(tmp_path / "new")


@pytest.mark.parametrize("name", ["a" * 300, "../../outside/stray", "/etc/hosts", "\x1b[31mred"])
def test_what_is_no_name_of_a_study_is_told_in_one_line(monkeypatch, tmp_path, name):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    result = CliRunner().invoke(main, ["check", name])
    assert result.exit_code == 2
    assert "there is no study" in result.output
    assert len(result.output) < 300
    assert "\x1b[31mred" not in result.output


def test_a_full_disk_is_told_in_one_message(monkeypatch, tmp_path):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr("glmhmm_assets.cli._load", full)
    result = CliRunner().invoke(main, ["check", "mice"])
    assert result.exit_code == 1
    assert result.output == (
        f"Ended: {tmp_path}/x: the disk is full. Make room there, and give the same command again: "
        "what is finished is kept.\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_without_the_right_to_write_is_told(tmp_path):
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(InputError, match="cannot be made or written"):
        prepare_home(tmp_path / "new")
