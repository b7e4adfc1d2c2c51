"""Files that appear whole, and what is left of those that did not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmhmm_core.whole_file import beside, clear_leftovers

#: Writes half a file, says so and waits.
HALF = """
import sys, time
from pathlib import Path
from glmhmm_core.whole_file import beside
with beside(Path(sys.argv[1])) as place:
    place.write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def written_by(process: int, folder: Path) -> Path:
    file = folder / f".{process}-{'0' * 32}.part.npz"
    file.touch()
    return file


def write_half(path: Path) -> None:
    with beside(path) as place:
        place.write_text("half")
        path.parent.write_text("it is a folder")


def test_a_file_appears_with_all_that_was_written(tmp_path):
    with beside(tmp_path / "new" / "a.npz") as place:
        assert place.suffix == ".npz"
        place.write_text("all")
        assert list((tmp_path / "new").glob("[!.]*")) == []
    assert (tmp_path / "new" / "a.npz").read_text() == "all"


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(IsADirectoryError):
        write_half(tmp_path / "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "before"


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    command = [sys.executable, "-c", HALF]
    with subprocess.Popen(
        [*command, tmp_path / "deep" / "a"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "half\n"
        assert clear_leftovers(tmp_path) == []
        process.kill()
    assert len(clear_leftovers(tmp_path)) == 1
    assert list((tmp_path / "deep").iterdir()) == []


def test_an_old_file_is_removed_whoever_has_the_id_of_its_writer(tmp_path):
    file = written_by(os.getpid(), tmp_path)
    assert clear_leftovers(tmp_path) == []
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(file, (two_days_ago, two_days_ago))
    assert clear_leftovers(tmp_path) == [file]


@pytest.mark.parametrize("name", [".a.part", "a.part", ".12-beef.part", ".part.csv"])
def test_files_of_others_are_never_removed(tmp_path, name):
    (tmp_path / name).touch()
    assert clear_leftovers(tmp_path) == []


def test_a_file_with_the_same_content_may_be_left_as_it_is(tmp_path):
    (tmp_path / "a").write_text("same")
    before = (tmp_path / "a").stat().st_ino
    with beside(tmp_path / "a", unless_same=True) as place:
        place.write_text("same")
    assert (tmp_path / "a").stat().st_ino == before
