"""PNG files are whole or absent; small pictures are small and legible."""

import io

import numpy as np
import pytest
from core.plots.cases import LABEL, many_states, textbook, ugly
from PIL import Image

from glmhmm_core.plots.export import save_png, thumbnail
from glmhmm_core.plots.psychometrics import psychometric_by_state
from glmhmm_core.plots.sessions import session_posteriors
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

    def half(file, **_):
        file.write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        save_png(figure, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["weights.png"]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    one, two = (weights_by_state(textbook().weights, 3) for _ in range(2))
    first, second = (tmp_path / name for name in ("one.png", "two.png"))
    assert save_png(one, first).read_bytes() == save_png(two, second).read_bytes()
    assert thumbnail(one) == thumbnail(two)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: weights_by_state(ugly().weights, 5),
        lambda: session_posteriors(ugly().trials, ugly().states, 5),
        lambda: psychometric_by_state(many_states().psychometrics, 8, LABEL),
    ],
    ids=["weights", "sessions", "psychometrics"],
)
def test_small_pictures_are_small(draw):
    figure = draw()
    content = thumbnail(figure)
    assert len(content) <= 30_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        assert 390 <= picture.width <= 400
        width, height = figure.get_size_inches()
        assert picture.height == pytest.approx(picture.width * height / width, abs=2)


def test_a_smaller_budget_is_met_too(figure):
    assert len(thumbnail(figure, max_bytes=3_000)) <= 3_000


def test_a_figure_is_as_it_was_after_its_small_picture(figure, tmp_path):
    size, before = figure.get_size_inches().copy(), save_png(figure, tmp_path / "a.png")
    thumbnail(figure)
    np.testing.assert_array_equal(figure.get_size_inches(), size)
    assert save_png(figure, tmp_path / "b.png").read_bytes() == before.read_bytes()
