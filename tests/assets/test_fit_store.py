"""The store of finished fits, pictures, and the line about progress."""

import os

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from tracked_fits import make_fits

from glmhmm_assets.pictures import Gallery
from glmhmm_assets.progress import Progress
from glmhmm_assets.resources.fit_store import KEPT, FitStore


def test_what_was_kept_is_found_under_its_fingerprint_alone(tmp_path):
    store = FitStore(tmp_path)
    assert store.find("mouse 1", "f1") is None
    store.keep(make_fits("mouse 1", "f1"), "f1")
    found = store.find("mouse 1", "f1")
    assert found.fingerprint == "f1"
    probs = make_fits()[2].smoothed_state_probs
    np.testing.assert_array_equal(found[2].smoothed_state_probs, probs)
    assert store.find("mouse 1", "f2") is None
    assert store.find("mouse 2", "f1") is None


@pytest.mark.parametrize("left", [0, 4, 1000, -1])
def test_a_spoilt_file_is_as_good_as_none(tmp_path, caplog, left):
    store = FitStore(tmp_path)
    store.keep(make_fits("a", "f1"), "f1")
    path = tmp_path / "a" / "f1.npz"
    path.write_bytes(path.read_bytes()[:left])
    assert store.find("a", "f1") is None
    assert "fitted again" in caplog.text
    store.keep(make_fits("a", "f1"), "f1")
    assert store.find("a", "f1") is not None


def test_the_least_lately_used_fits_are_dropped(tmp_path):

    store = FitStore(tmp_path)
    for i in range(KEPT):
        store.keep(make_fits("a", f"f{i}"), f"f{i}")
        os.utime(tmp_path / "a" / f"f{i}.npz", (i, i))
    store.keep(make_fits("b", "other"), "other")
    store.find("a", "f0")  # used, so f1 is now the oldest
    store.keep(make_fits("a", "new"), "new")
    left = {path.stem for path in (tmp_path / "a").iterdir()}
    assert left == {"new", "f0", *(f"f{i}" for i in range(2, KEPT))}
    assert store.find("b", "other") is not None


class Drawing:
    """A figure function that counts how often it draws."""

    __name__ = "drawing"

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, table: pl.DataFrame, number: int) -> Figure:
        self.drawn += 1
        figure = Figure((3, 2), layout="constrained")
        figure.subplots().plot(table["x"], table["x"] * number)
        return figure


def test_a_picture_is_drawn_again_only_when_it_would_change(tmp_path):
    gallery, draw = Gallery(tmp_path, ("mice",)), Drawing()
    table = pl.DataFrame({"x": [1.0, 2.0]})
    first = gallery.draw("mouse 1", "line", draw, (table, 2))
    full = tmp_path / "storage" / "mice" / "figures" / "mouse 1" / "line.png"
    assert full.read_bytes().startswith(b"\x89PNG")
    assert first["file"].value == str(full)

    assert gallery.draw("mouse 1", "line", draw, (table.clone(), 2)) == first
    assert draw.drawn == 1
    gallery.draw("mouse 1", "line", draw, (table, 3))
    gallery.draw("mouse 1", "line", draw, (table.with_columns(x=pl.col("x") + 1), 3))
    assert draw.drawn == 3
    full.unlink()
    gallery.draw("mouse 1", "line", draw, (table.with_columns(x=pl.col("x") + 1), 3))
    assert draw.drawn == 4


def test_removing_a_picture_leaves_others(tmp_path):
    gallery = Gallery(tmp_path, ("mice", "cohort"))
    table = pl.DataFrame({"x": [1.0, 2.0]})
    for name in ("line", "line_two"):
        gallery.draw("a", name, Drawing(), (table, 1))
    gallery.remove("a", "line")
    gallery.remove("a", "line")
    assert [path.name for path in tmp_path.rglob("*.png")] == ["line_two.png"]


def test_an_event_holds_the_address_of_a_picture_and_not_the_picture(tmp_path):
    gallery = Gallery(tmp_path, ("mice", "cohort"))
    shown = gallery.draw("mäuse (1)", "line", Drawing(), (pl.DataFrame({"x": [1.0, 2.0]}), 1))
    address = "/pictures/mice/cohort/figures/m%C3%A4use%20%281%29/line.png"
    assert shown["picture"].value == f"![line]({address})\n\n[Full size]({address})"


def test_a_damaged_picture_is_drawn_again(tmp_path):
    gallery, draw = Gallery(tmp_path, ("mice",)), Drawing()
    arguments = (pl.DataFrame({"x": [1.0, 2.0]}), 1)
    gallery.draw("a", "line", draw, arguments)
    file = gallery.file("a", "line")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    gallery.draw("a", "line", draw, arguments)
    assert file.read_bytes() == whole


def test_progress_is_told_now_and_then_and_counts_all():
    said, now = [], [0.0]
    tell = Progress(said.append, models=4, folds=2, every=10, clock=lambda: now[0])
    for i, (subject, k) in enumerate((("a", 1), ("a", 2), ("b", 1), ("b", 2))):
        now[0] += 6
        for _ in range(5):  # with starts that were given, more than the restarts
            about = {"subject": subject, "num_states": k}
            tell({"event": "restart_start", "fit_phase": "full_data", **about})
            tell({"event": "restart_complete", "fit_phase": "full_data", **about})
            tell({"event": "restart_complete", "fit_phase": "cross_validation", **about})
        if i % 2:
            tell({"event": "cv_fold_complete", "subject": subject, "fold": 0})
    assert said == [
        "fitting: 2 of 4 models, 0 of 2 folds, 12 s",
        "fitting: 4 of 4 models, 1 of 2 folds, 24 s",
    ]
