"""The campaign of first starts that are killed or that meet, in short; in full it is by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "campaigns" / "first_start.py"


@pytest.mark.slow
def test_first_starts_that_are_killed_or_that_meet_ruin_nothing():
    env = {name: said for name, said in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, PROGRAM, "--kills", "2", "--races", "1", "--seed", "2"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1  two at once" in done.stdout
