"""The sensor's memory: found under its cursor, whole or absent, and no more files than needed."""

import os

import pytest

from glmhmm_assets.sensor_memory import Memory, MemoryFiles

MEMORY = Memory("s", {"a": "1"}, {"a": "2"}, ("b",), "r", "7", 3)


@pytest.fixture
def files(tmp_path):
    return MemoryFiles(tmp_path / "sensor")


def names(files):
    return {path.name for path in files.folder.iterdir()}


def test_a_memory_is_found_under_its_cursor(files):
    assert files.read(files.write(MEMORY, None)) == MEMORY


@pytest.mark.parametrize("cursor", [None, "", "{", "3", "{}", "../" * 20 + "etc/passwd", "f" * 64])
def test_a_cursor_that_names_no_file_has_no_memory(files, cursor):
    assert files.read(cursor) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_file_is_no_memory(files, damage):
    cursor = files.write(MEMORY, None)
    (files.folder / f"{cursor}.json").write_bytes(damage)
    assert files.read(cursor) is None


def test_a_file_that_somebody_edited_is_no_memory(files):
    cursor = files.write(MEMORY, None)
    path = files.folder / f"{cursor}.json"
    path.write_text(path.read_text().replace('"1"', '"2"'))
    assert files.read(cursor) is None


def test_what_is_remembered_already_is_not_written_again(files):
    cursor = files.write(MEMORY, None)
    path = files.folder / f"{cursor}.json"
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert files.write(MEMORY, cursor) == cursor
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_old_memories_go_but_the_one_that_a_look_began_with_and_those_of_these_minutes(files):
    cursors = [files.write(Memory(born=str(number)), None) for number in range(4)]
    for cursor in cursors[:3]:
        os.utime(files.folder / f"{cursor}.json", (0, 0))
    last = files.write(MEMORY, cursors[1])
    assert names(files) == {f"{cursor}.json" for cursor in (cursors[1], cursors[3], last)}
