"""PNG files are whole or absent, and say what they were drawn from."""

import struct
from zlib import crc32

import numpy as np
import pytest
from core.plots.cases import textbook
from PIL import Image

from glmhmm_core.plots.export import save_png, source_of
from glmhmm_core.plots.weights import weights_by_state


@pytest.fixture
def figure():
    return weights_by_state(textbook().weights, 3)


def test_a_file_has_the_size_of_the_figure(figure, tmp_path):
    path = save_png(figure, tmp_path / "deep" / "weights.png", dpi=100)
    with Image.open(path) as picture:
        assert picture.size == tuple(np.round(figure.get_size_inches() * 100).astype(int))
    assert [p.name for p in path.parent.iterdir()] == ["weights.png"]


def test_a_picture_that_fails_leaves_the_old_file_alone(figure, tmp_path, monkeypatch):
    path = save_png(figure, tmp_path / "weights.png")
    old = path.read_bytes()

    def half(_, file, *__, **___):
        file.write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_png(figure, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["weights.png"]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    one, two = (weights_by_state(textbook().weights, 3) for _ in range(2))
    first, second = (tmp_path / name for name in ("one.png", "two.png"))
    assert save_png(one, first).read_bytes() == save_png(two, second).read_bytes()


def test_a_file_says_what_it_was_drawn_from(figure, tmp_path):
    assert source_of(save_png(figure, tmp_path / "a.png", source="abc")) == "abc"


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_says_nothing(content, tmp_path):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    assert source_of(path) is None


def test_a_picture_that_was_cut_off_says_nothing(figure, tmp_path):
    path = save_png(figure, tmp_path / "a.png", source="abc")
    path.write_bytes(path.read_bytes()[:-20])
    assert source_of(path) is None


def test_a_picture_whose_header_lies_says_nothing(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc32(name + data))

    size = struct.pack(">IIBBBBB", 2**30, 2**30, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", size), chunk(b"IDAT", b""), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert source_of(tmp_path / "a.png") is None


def test_a_file_has_the_pixels_that_matplotlib_saves(figure, tmp_path):
    with Image.open(save_png(figure, tmp_path / "a.png")) as picture:
        ours = np.asarray(picture)
    figure.savefig(tmp_path / "b.png", dpi=150)
    with Image.open(tmp_path / "b.png") as picture:
        np.testing.assert_array_equal(ours, np.asarray(picture.convert("RGB")))


def test_a_figure_is_as_it_was_after_it_was_written(figure, tmp_path):
    size, before = figure.get_size_inches().copy(), save_png(figure, tmp_path / "a.png")
    np.testing.assert_array_equal(figure.get_size_inches(), size)
    assert save_png(figure, tmp_path / "b.png").read_bytes() == before.read_bytes()
